"""Transcripts in whisperX's shape: who said what, when, how sure. Never edited in place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy import artifacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A word as it is written, punctuation included; times and speaker may be missing."""

    word: str
    start: float | None = None
    """Seconds."""
    end: float | None = None
    score: float | None = None
    """Confidence, 0 to 1."""
    speaker: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of speech by one voice."""

    text: str
    start: float | None = None
    """Seconds."""
    end: float | None = None
    speaker: str | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """What was said in one item. Speakers are anonymous labels unless it was imported."""

    segments: tuple[Segment, ...]
    language: str | None = None

    @property
    def speakers(self) -> list[str]:
        """Speaker labels in order of first appearance."""
        return list(dict.fromkeys(s.speaker for s in self.segments if s.speaker is not None))


def read(path: Path) -> Transcript:
    """Read a transcript: ours, whisperX's, or AssemblyAI's.

    Raises:
        ValueError: the file is not JSON or not of this shape; the message names file and place.
    """
    from understudy.records import assemblyai

    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error.msg}, line {error.lineno})") from None
    if assemblyai.is_transcript(record):
        try:
            return assemblyai.transcript(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not a whole transcript of AssemblyAI's ({error})") from None
    if not isinstance(record, dict) or not isinstance(record.get("segments"), list):
        raise ValueError(f"{path}: no list `segments`")  # noqa: TRY004  # the file is wrong, not a type
    segments = []
    for number, segment in enumerate(record["segments"], start=1):
        try:
            segments.append(_segment(segment))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: segment {number}: {error!r}") from None
    return Transcript(segments=tuple(segments), language=record.get("language"))


def _segment(record: dict[str, Any]) -> Segment:
    words = tuple(
        Word(
            word=str(word["word"]),
            start=_number(word.get("start")),
            end=_number(word.get("end")),
            score=_number(word.get("score")),
            speaker=word.get("speaker"),
        )
        for word in record.get("words", ())
    )
    text = record["text"]
    if not isinstance(text, str):
        raise TypeError("text is not a string")
    return Segment(
        text=text,
        start=_number(record.get("start")),
        end=_number(record.get("end")),
        speaker=record.get("speaker"),
        words=words,
    )


def _number(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]


def write(path: Path, transcript: Transcript) -> None:
    """Write a transcript, one segment a line, atomically. Unknown fields are left out."""
    lines = [json.dumps(_known(segment), ensure_ascii=False) for segment in transcript.segments]
    head = f'{{"language": {json.dumps(transcript.language)}, "segments": [\n'
    artifacts.write_atomic(path, head + ",\n".join(lines) + "\n]}\n")


def _known(segment: Segment) -> dict[str, Any]:
    record = artifacts.record(segment)
    words = [{k: v for k, v in word.items() if v is not None} for word in record.pop("words")]
    return {k: v for k, v in {**record, "words": words}.items() if v is not None}
