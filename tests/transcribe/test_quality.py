"""How well the embedded default hears: the sample show and a real phone call, with bounds.

    python tests/transcribe/test_quality.py <corpus folder>

prints the figures for a corpus that holds the sample episodes (`data/demo` after `make demo`).

WER: words in lower case without punctuation, numbers and spellings by Whisper's English normaliser.
cpWER: the same with each speaker's words joined, speakers matched the best way. DER and JER: collar
0, overlap included.
"""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jiwer
import pytest

from understudy.config.voices import VoicesConfig
from understudy.console import Exit
from understudy.records import transcript as transcripts
from understudy.records import voices
from understudy.records.item import Item
from understudy.records.turns import read_turns
from understudy.records.voices import Role

SAMPLES = Path(__file__).parents[2] / "samples"
EPISODES = ("13-bell-rope-maker", "14-puppet-mender")


@dataclass(frozen=True)
class Score:
    """Error rates, 0.1 is 10 %."""

    wer: float
    cpwer: float
    der: float
    jer: float

    def __str__(self) -> str:
        named = {"WER": self.wer, "cpWER": self.cpwer, "DER": self.der, "JER": self.jer}
        return "  ".join(f"{name} {value:6.1%}" for name, value in named.items())


def normal(text: str) -> str:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return str(EnglishTextNormalizer({})(text))


def by_speaker(parts: list[tuple[str, str]]) -> list[str]:
    joined: defaultdict[str, list[str]] = defaultdict(list)
    for speaker, text in parts:
        joined[speaker].append(text)
    return [normal(" ".join(texts)) for texts in joined.values()]


def errors(reference: str, heard: str) -> int:
    if not reference:
        return len(heard.split())
    counted = jiwer.process_words(reference, heard)
    return counted.substitutions + counted.deletions + counted.insertions


def cpwer(reference: list[str], heard: list[str]) -> float:
    size = max(len(reference), len(heard))
    padded = reference + [""] * (size - len(reference))
    rest = heard + [""] * (size - len(heard))
    orders = itertools.permutations(rest)
    least = min(sum(map(errors, padded, order)) for order in orders)
    return least / sum(len(text.split()) for text in reference)


def read_stm(path: Path) -> list[tuple[str, str]]:
    rows = [line.split(maxsplit=5) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row[2], row[5]) for row in rows if len(row) == 6]


def score(item: Item, stm: Path, rttm: Path) -> Score:
    """Compare an item's transcript, and the pipeline's turns on its audio, with the truth."""
    heard = transcripts.read(item.transcript_file)
    truth = read_stm(stm)
    said = [(segment.speaker or "", segment.text) for segment in heard.segments]
    reference = normal(" ".join(text for _, text in truth))
    wer = errors(reference, normal(" ".join(text for _, text in said))) / len(reference.split())
    der, jer = diarization_errors(item, rttm)
    return Score(wer, cpwer(by_speaker(truth), by_speaker(said)), der, jer)


@cache
def diarizer() -> Any:
    from understudy.config.diarizer import DiarizerConfig
    from understudy.transcribe import diarize
    from understudy.transcribe.quiet import quiet

    with quiet():
        return diarize.load(DiarizerConfig())


def diarization_errors(item: Item, rttm: Path) -> tuple[float, float]:
    """DER and JER of the pipeline on the item's audio."""
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.database.util import load_rttm
    from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate

    from understudy.transcribe import audio

    (reference,) = load_rttm(rttm).values()
    assert item.media_file is not None
    recording = audio.decode(item.media_file)
    found = Annotation()
    stretches = diarizer().diarize(recording.samples).stretches
    for number, part in enumerate(stretches):
        found[Segment(part.start, part.end), number] = part.speaker
    whole = Timeline([Segment(0, recording.seconds)])
    return (
        float(DiarizationErrorRate()(reference, found, uem=whole)),
        float(JaccardErrorRate()(reference, found, uem=whole)),
    )


def score_samples(corpus: Path) -> dict[str, Score]:
    """Scores of the two sample episodes of a corpus."""
    truth = SAMPLES / "truth"
    return {
        name: score(Item(corpus / name), truth / f"{name}.stm", truth / f"{name}.rttm")
        for name in EPISODES
    }


def test_the_night_ends_in_part_with_a_list(night: Any) -> None:
    ran = night.ran
    assert ran.code == Exit.IN_PART
    assert Path(ran.out.strip()) == night.corpus
    assert "transcribe: 3 transcribed, 4 failed" in ran.err
    end = ran.err.partition("3 transcribed, 4 failed")[2]
    for name, reason in {
        "bad-empty": "audio.mp3 has zero bytes",
        "bad-film": "video.mp4 has no audio stream",
        "bad-silence": "no speech was found in its 5 s",
        "bad-text": "audio.mp3",
    }.items():
        assert f"{name}: {reason}" in end
        assert reason in (night.item(name).failure("transcribe") or "")
        assert not night.item(name).transcript_file.exists()
    assert "phone: the host (Maren Tolliver) is not heard in it" in ran.err


def test_nothing_but_our_own_words_is_on_the_screen(night: Any) -> None:
    ours = ("transcribe", "  bad-", "warning: ", *EPISODES, "phone: ")
    strange = [line for line in night.ran.err.splitlines() if line and not line.startswith(ours)]
    assert strange == []


def test_a_second_night_tries_only_the_bad_ones(night: Any, door: Any) -> None:
    stamps = {name: night.item(name).transcript_file.stat().st_mtime_ns for name in EPISODES}
    again = door(night.root, "voices.threshold=0.6")
    assert again.code == Exit.IN_PART
    assert "3 transcribed, 4 failed" in again.err
    for name, stamp in stamps.items():
        assert night.item(name).transcript_file.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", EPISODES)
def test_the_sample_show(night: Any, name: str) -> None:
    truth = SAMPLES / "truth"
    scored = score(night.item(name), truth / f"{name}.stm", truth / f"{name}.rttm")
    print(f"{name}: {scored}")  # noqa: T201  # the figures of the closing note
    assert scored.wer < 0.12
    assert scored.cpwer < 0.15
    assert scored.der < 0.15
    assert scored.jer < 0.2


def test_a_real_phone_call(night: Any, phone: Any) -> None:
    scored = score(night.item("phone"), phone.stm, phone.rttm)
    print(f"phone: {scored}")  # noqa: T201  # the figures of the closing note
    assert scored.wer < 0.2
    assert scored.der <= 0.06


@pytest.mark.parametrize("name", EPISODES)
def test_the_host_is_known_and_the_guest_is_not(night: Any, name: str) -> None:
    register = voices.read_register(night.corpus / "speakers.json")
    heard = voices.read_item_voices(night.item(name).voices_file)
    assert heard is not None
    resolved = voices.resolve(heard, register, VoicesConfig())
    assert sorted(v.role is Role.host for v in resolved.values()) == [False, True]
    similarity = {v.role: v.similarity for v in resolved.values()}
    assert similarity[Role.host] is not None
    assert similarity[None] is not None
    assert similarity[Role.host] > 0.85
    assert similarity[None] < 0.35


def test_the_host_opens_and_closes_the_episode(night: Any) -> None:
    register = voices.read_register(night.corpus / "speakers.json")
    turns = read_turns(night.item(EPISODES[1]), register, VoicesConfig())
    assert [turns[0].speaker, turns[-1].speaker] == ["Maren Tolliver"] * 2
    assert turns[1].speaker == "SPEAKER_00"
    assert turns[1].role is None
    assert [turn.role for turn in turns[::2]] == [Role.host] * len(turns[::2])


def main() -> int:
    """Print the scores of a corpus."""
    for name, scored in score_samples(Path(sys.argv[1])).items():
        print(f"{name:24} {scored}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
