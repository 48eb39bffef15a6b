"""AssemblyAI's transcript JSON: utterances or words, chapters; times in milliseconds."""

from __future__ import annotations

from typing import Any

from understudy.records.item import Chapter
from understudy.records.transcript import Segment, Transcript, Word

MILLISECONDS = 1000.0


def is_transcript(record: object) -> bool:
    """Whether a JSON value is a transcript as that service writes it."""
    return isinstance(record, dict) and "segments" not in record and "text" in record


def is_chapter(record: object) -> bool:
    """Whether a JSON value is one of that service's automatic chapters."""
    return isinstance(record, dict) and {"start", "end", "headline"} <= set(record)


def chapter(record: dict[str, Any]) -> Chapter:
    """One automatic chapter; its headline is the title."""
    return Chapter(
        start_seconds=float(record["start"]) / MILLISECONDS,
        end_seconds=float(record["end"]) / MILLISECONDS,
        title=" ".join(str(record["headline"]).split()),
    )


def transcript(record: dict[str, Any]) -> Transcript:
    """Utterances as segments; without them (one speaker) the whole text as one.

    Raises:
        ValueError: it is not finished, or has no text.
        KeyError, TypeError: a field is missing or of another kind.
    """
    status = record.get("status", "completed")
    if status != "completed":
        raise ValueError(f"its status is {status!r}: {record.get('error') or 'not completed'}")
    language = str(record.get("language_code") or "").split("_")[0] or None
    utterances = record.get("utterances")
    if utterances:
        return Transcript(segments=tuple(map(_segment, utterances)), language=language)
    if not isinstance(record["text"], str):
        raise ValueError("it has no text")  # noqa: TRY004  # the file is wrong, not a type
    words = tuple(map(_word, record.get("words") or ()))
    whole = Segment(
        text=record["text"],
        start=words[0].start if words else None,
        end=words[-1].end if words else None,
        words=words,
    )
    return Transcript(segments=(whole,), language=language)


def _segment(record: dict[str, Any]) -> Segment:
    return Segment(
        text=str(record["text"]),
        start=float(record["start"]) / MILLISECONDS,
        end=float(record["end"]) / MILLISECONDS,
        speaker=_speaker(record),
        words=tuple(map(_word, record.get("words") or ())),
    )


def _word(record: dict[str, Any]) -> Word:
    score = record.get("confidence")
    return Word(
        word=str(record["text"]),
        start=float(record["start"]) / MILLISECONDS,
        end=float(record["end"]) / MILLISECONDS,
        score=None if score is None else float(score),
        speaker=_speaker(record),
    )


def _speaker(record: dict[str, Any]) -> str | None:
    name = record.get("speaker")
    return None if name is None else str(name)
