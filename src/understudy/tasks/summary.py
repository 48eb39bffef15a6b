"""Summary: a transcript with chapters in, the summary that a person wrote out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from understudy.config.limits import within
from understudy.config.task import TaskConfig
from understudy.records import assemblyai, chapters, fields, summary, transcript
from understudy.records.conversation import Conversation, GivesWay, Spoken
from understudy.records.item import Chapter, Item
from understudy.records.rows import Message
from understudy.records.summary import Summary
from understudy.records.transcript import Transcript
from understudy.tasks import Reading


class Form(Enum):
    """How the summary is written."""

    markdown = "markdown"
    json = "json"


class Long(Enum):
    """What becomes of a text that is too long. The summary itself is never cut."""

    window = "window"
    """As much of its beginning as fits is read."""
    chapters = "chapters"
    """One row a chapter, from its text to its summary; and one from these to the whole."""


FORMS = {
    Form.markdown: "Markdown",
    Form.json: "JSON with the keys summary, chapters, key_points, tags and outlook",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SummaryConfig(TaskConfig):
    """How a summary is asked for and written."""

    ask: str = (
        "Summarise this video in {form}: an overall summary, a summary of each chapter, key "
        "points, tags and an outlook."
    )
    """What the user asks; `{form}` becomes the form of the answer in words."""
    ask_chapter: str = "Summarise this chapter of a video."
    """What the user asks for a single chapter, with long=chapters."""
    form: Form = Form.markdown
    """The answer in markdown or json. Markdown that a person wrote is learned word for word."""
    long: Long = Long.window
    """What becomes of a text longer than `long_words`: window or chapters."""
    long_words: int = 2000
    """From how many words on a text is too long for one row (long=chapters); about 0.7 of the
    context in tokens, less what the summary needs."""
    text_column: str = "full_text"
    """Rows: the field with the text, or with AssemblyAI's transcript."""
    chapters_column: str = "auto_chapters"
    """Rows: the field with the chapters: a list (ours, yt-dlp's, AssemblyAI's), or a text."""
    summary_column: str = "summary"
    """Rows: the field with the summary: Markdown, or an object of its parts."""

    def __post_init__(self) -> None:
        within("task.long_words", self.long_words, 1, 10_000_000, unit="words")


CONFIG = SummaryConfig
ITEM_FILES = ("source.json", "transcript.json", "chapters.json", "target.summary.*")

OUTSIDE = "outside every chapter that has a summary"
NO_TIMES = "long texts without times, cut to a window instead of chapter by chapter"


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A stretch of a text, and when it is said."""

    text: str
    middle: float | None
    """Seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What a summary is made from."""

    pieces: tuple[Piece, ...]
    chapters: Sequence[Chapter]
    listing: str
    """The chapters as the user names them."""
    title: str = ""

    @property
    def text(self) -> str:
        """Everything said."""
        return "\n".join(piece.text for piece in self.pieces)


def from_item(item: Item, reading: Reading, config: SummaryConfig) -> Iterator[Conversation]:
    """One video and its `target.summary.md` or `.json`.

    Raises:
        ValueError: a file is missing or cannot be read, or nothing is said.
    """
    del reading
    source = item.source()
    written = summary.read(item.folder, prefer_json=config.form is Form.json)
    if not item.transcript_file.exists():
        raise ValueError("no transcript.json: transcribe the item first")
    found = chapters.of_item(item)
    material = Material(
        pieces=_pieces(transcript.read(item.transcript_file)),
        chapters=found,
        listing=chapters.listing(found),
        title=source.title,
    )
    known = {name: getattr(source, name) for name in ("category", "creator", "licence")}
    yield from _conversations(material, written, config, known)


def from_row(record: dict[str, Any], config: SummaryConfig) -> Iterator[Conversation]:
    """One row with full text, chapters and summary.

    Raises:
        ValueError: a field is missing or of the wrong kind.
    """
    found, listing = _row_chapters(record, config.chapters_column, config.text_column)
    material = Material(
        pieces=_row_pieces(record, config.text_column),
        chapters=found,
        listing=listing,
        title=fields.optional(record, "title"),
    )
    written = record.get(config.summary_column)
    if not isinstance(written, dict):
        written = fields.text(record, config.summary_column)
    yield from _conversations(material, written, config, fields.provenance(record))


def _pieces(heard: Transcript) -> tuple[Piece, ...]:
    """Segments; a transcript that is one single segment in words, where these have times."""
    timed: Sequence[transcript.Segment | transcript.Word] = heard.segments
    if len(heard.segments) == 1 and heard.segments[0].words:
        words = [word.word for word in heard.segments[0].words]
        whole = heard.segments[0].text.split()
        timed = heard.segments[0].words if words == whole else timed
    return tuple(
        Piece(text=text, middle=_middle(one.start, one.end))
        for one in timed
        if (text := " ".join(_written(one).split()))
    )


def _written(one: transcript.Segment | transcript.Word) -> str:
    return one.text if isinstance(one, transcript.Segment) else one.word


def _middle(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else (start + end) / 2


def _row_pieces(record: dict[str, Any], name: str) -> tuple[Piece, ...]:
    value = record.get(name)
    if not isinstance(value, dict):
        return (Piece(text=fields.text(record, name), middle=None),)
    if not assemblyai.is_transcript(value):
        raise ValueError(f"{name} is an object, but no transcript of AssemblyAI's")
    try:
        return _pieces(assemblyai.transcript(value))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: not a whole transcript of AssemblyAI's ({error})") from None


def _row_chapters(record: dict[str, Any], name: str, text_name: str) -> tuple[list[Chapter], str]:
    """The chapters and how they are listed; a text that is no JSON is listed as it stands.

    Where the field is missing, those of AssemblyAI's transcript are taken.
    """
    value = record.get(name)
    if value is None:
        text = record.get(text_name)
        value = (text.get("chapters") if isinstance(text, dict) else None) or []
    if isinstance(value, str):
        if not value.lstrip().startswith(("[", "{")):
            return [], value.strip()
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return [], value.strip()
    try:
        found = chapters.parse(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return found, chapters.listing(found)


def _conversations(
    material: Material,
    written: str | dict[str, Any],
    config: SummaryConfig,
    known: dict[str, Any],
) -> Iterator[Conversation]:
    text = material.text
    if not text:
        raise ValueError("nothing is said: the text is empty")
    answer = _answer(written, config.form)
    notes: Counter[str] = Counter()
    if config.long is Long.chapters and len(text.split()) > config.long_words:
        parts = summary.parse(written)
        matched = _matched(material, parts)
        if matched:
            yield from _by_chapters(material, matched, answer, config, known)
            return
        notes[NO_TIMES] += 1
    head = _head(config.ask.replace("{form}", FORMS[config.form]), material.title)
    if material.listing:
        head += f"\n\nChapters:\n{material.listing}"
    yield _one(f"{head}\n\nTranscript:\n", text, answer, config, {**known, "notes": notes})


def _answer(written: str | dict[str, Any], form: Form) -> str:
    """The summary in the form that is wanted; what stands in that form is taken as it is."""
    if form is Form.markdown:
        as_it_is = isinstance(written, str) and not summary.is_json(written)
        answer = str(written).strip() if as_it_is else summary.parse(written).markdown()
    else:
        answer = summary.parse(written).json()
    if answer in ("", "{}"):
        raise ValueError("the summary is empty: nothing to learn")
    return answer


def _matched(material: Material, parts: Summary) -> list[tuple[Chapter, str]]:
    """Each chapter with its summary: by title, or by order where there are as many of both."""
    if any(piece.middle is None for piece in material.pieces):
        return []
    by_title = {c.title.casefold(): c.summary for c in parts.chapters}
    found = [(c, by_title.get(c.title.casefold(), "")) for c in material.chapters]
    if not any(text for _, text in found) and len(parts.chapters) == len(material.chapters):
        found = [
            (chapter, one.summary)
            for chapter, one in zip(material.chapters, parts.chapters, strict=True)
        ]
    return [(chapter, text) for chapter, text in found if text]


def _by_chapters(
    material: Material,
    matched: list[tuple[Chapter, str]],
    answer: str,
    config: SummaryConfig,
    known: dict[str, Any],
) -> Iterator[Conversation]:
    left = list(material.pieces)
    for chapter, text in matched:
        inside = [piece for piece in left if _within(piece, chapter)]
        left = [piece for piece in left if not _within(piece, chapter)]
        if not inside:
            continue
        head = _head(config.ask_chapter, material.title)
        head += f"\n\nChapter: {chapters.listing([chapter])}\n\nTranscript:\n"
        said = "\n".join(piece.text for piece in inside)
        whole = json.dumps({"summary": text}, ensure_ascii=False)
        yield _one(head, said, text if config.form is Form.markdown else whole, config, known)
    head = _head(config.ask.replace("{form}", FORMS[config.form]), material.title)
    listed = "\n\n".join(f"{chapters.listing([c])}\n{text}" for c, text in matched)
    outside = sum(len(piece.text.split()) for piece in left)
    asked = Counter({OUTSIDE: outside} if outside else {})
    notes = Counter({"texts summarised chapter by chapter": 1})
    more = {**known, "asked": asked, "notes": notes}
    yield _one(f"{head}\n\nChapters:\n", listed, answer, config, more)


def _within(piece: Piece, chapter: Chapter) -> bool:
    return piece.middle is not None and (
        chapter.start_seconds <= piece.middle < chapter.end_seconds
    )


def _head(ask: str, title: str) -> str:
    return f"{ask}\n\nTitle: {title}" if title else ask


def _one(
    head: str, body: str, answer: str, config: SummaryConfig, known: dict[str, Any]
) -> Conversation:
    return Conversation(
        system=config.system,
        spoken=(
            Spoken(message=Message(role="user", content=head + body, weight=0)),
            Spoken(message=Message(role="assistant", content=answer)),
        ),
        gives_way=GivesWay.body,
        body=(len(head), len(head) + len(body)),
        **known,
    )
