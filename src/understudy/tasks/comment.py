"""Comment: what is said in a video in, a viewer's comment out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from understudy.config.limits import within
from understudy.config.task import TaskConfig
from understudy.records import comments, fields, language, subtitles, transcript
from understudy.records.comments import Comment
from understudy.records.conversation import Conversation, GivesWay, Spoken
from understudy.records.item import Item, Source
from understudy.records.likeness import shingles, similarity
from understudy.records.rows import Message
from understudy.tasks import Reading


class Speech(Enum):
    """Where what is said comes from."""

    any = "any"
    """Subtitles, else our transcript."""
    subtitles = "subtitles"
    transcript = "transcript"


@dataclass(frozen=True, kw_only=True, slots=True)
class CommentConfig(TaskConfig):
    """Which comments are learned, and what is read before them."""

    ask: str = "Write the comment that a viewer leaves under this video."
    """What the user asks, above the video's text."""
    speech: Speech = Speech.any
    """What the video says: any (subtitles, else the transcript), subtitles, or transcript."""
    title: bool = False
    """Put the video's title before its text."""
    description: bool = False
    """Put the video's description before its text."""
    comments: int = 3
    """Most comments of one video: those most liked, each a conversation of its own."""
    min_likes: int = 0
    """Fewest likes."""
    min_words: int = 3
    """Shortest comment."""
    max_words: int = 120
    """Longest comment; a longer one is passed over, never cut."""
    language: str | None = None
    """ISO 639-1 code: only comments that seem to be in this language; null for any. Comments too
    short to tell are taken."""
    replies: bool = False
    """Take answers to other comments too."""
    links: bool = False
    """Take comments with an address of a page too; most of them advertise."""
    max_similarity: float = 0.7
    """A comment as similar as this (Jaccard index of three-letter runs) to a better liked one of
    the same video is passed over as a near-duplicate; 1 takes out exact ones only."""
    text_column: str = "subtitle"
    """Rows: the field that holds what is said."""
    comment_column: str = "comment"
    """Rows: the field that holds the comment."""

    def __post_init__(self) -> None:
        within("task.comments", self.comments, 1, 10_000, unit="comments")
        within("task.min_likes", self.min_likes, 0, 1e9)
        within("task.min_words", self.min_words, 0, 10_000, unit="words")
        within("task.max_words", self.max_words, max(1, self.min_words), 10_000, unit="words")
        within("task.max_similarity", self.max_similarity, 0.1, 1)


CONFIG = CommentConfig
ITEM_FILES = ("source.json", "subtitles*", "transcript.json", "comments.jsonl")

REPLY = "comments that answer others"
LINK = "comments with a link"
LIKES = "comments with too few likes"
SHORT = "comments that are too short"
LONG = "comments that are too long"
LANGUAGE = "comments in another language"
DUPLICATE = "near-duplicate comments"
SURPLUS = "comments beyond task.comments"


def from_item(item: Item, reading: Reading, config: CommentConfig) -> Iterator[Conversation]:
    """One video is as many conversations as it has comments that are taken.

    The words of the comments that are not are accounted for in the first one.

    Raises:
        ValueError: a file cannot be read, nothing is said, or no comment is taken.
    """
    del reading
    source = item.source()
    notes: Counter[str] = Counter()
    said = _said(item, source, config, notes)
    found, bad = comments.read(item.folder / "comments.jsonl")
    passed: Counter[str] = Counter()
    notes.update(f"lines of comments.jsonl left out: {line.reason}" for line in bad)
    chosen = choose(found, config, passed)
    if not chosen:
        reasons = ", ".join(f"{words} words of {reason}" for reason, words in passed.items())
        raise ValueError(f"no comment to learn from: {len(found)} found; {reasons or 'all empty'}")
    for comment in chosen:
        if comment.replaced:
            notes["names and addresses of viewers replaced"] += comment.replaced
        yield _conversation(
            said,
            comment.text,
            config,
            head=_head(source, config),
            asked=passed,
            notes=notes,
            category=source.category,
            creator=source.creator,
            licence=source.licence,
        )
        passed, notes = Counter(), Counter()


def from_row(record: dict[str, Any], config: CommentConfig) -> Iterator[Conversation]:
    """One row is one pair of subtitle and comment; the filters by likes and number do not apply.

    Raises:
        ValueError: subtitle or comment is missing.
    """
    said = " ".join(fields.text(record, config.text_column).split())
    title = fields.optional(record, "title")
    description = fields.optional(record, "description")
    names = comments.Names([fields.optional(record, "author")])
    text, replaced = names.replaced(fields.text(record, config.comment_column))
    head = _head(Source(title=title, description=description), config)
    notes = Counter({"names and addresses of viewers replaced": replaced} if replaced else {})
    yield _conversation(said, text, config, head=head, notes=notes, **fields.provenance(record))


def choose(found: Iterable[Comment], config: CommentConfig, passed: Counter[str]) -> list[Comment]:
    """The comments that are taken, the most liked first; words of the others go to `passed`."""
    chosen: list[Comment] = []
    known: list[frozenset[str]] = []
    for comment in sorted(found, key=lambda one: -one.likes):
        reason = unfit(comment, config)
        runs = shingles(comment.text)
        if reason is None and _stands_already(runs, known, config.max_similarity):
            reason = DUPLICATE
        if reason is None and len(chosen) == config.comments:
            reason = SURPLUS
        if reason is not None:
            passed[reason] += comment.words
            continue
        chosen.append(comment)
        known.append(runs)
    return chosen


def _stands_already(runs: frozenset[str], known: list[frozenset[str]], most: float) -> bool:
    return any(similarity(runs, other) >= most for other in known)


def unfit(comment: Comment, config: CommentConfig) -> str | None:
    """Why a comment is passed over by itself, or None."""
    code = language.guess(comment.text) if config.language else None
    checks = (
        (REPLY, comment.reply and not config.replies),
        (LINK, comment.has_link and not config.links),
        (LIKES, comment.likes < config.min_likes),
        (SHORT, comment.words < max(1, config.min_words)),
        (LONG, comment.words > config.max_words),
        (LANGUAGE, code is not None and code != config.language),
    )
    return next((reason for reason, applies in checks if applies), None)


def _said(item: Item, source: Source, config: CommentConfig, notes: Counter[str]) -> str:
    wanted = source.language or config.language
    file = subtitles.find(item.folder, wanted)
    if file is not None and config.speech is not Speech.transcript:
        code = subtitles.language(file)
        if wanted is not None and code != wanted:
            notes[
                f"subtitles in {code or 'an unnamed language'}, as there are none in {wanted}"
            ] += 1
        return subtitles.text(subtitles.read(file))
    if config.speech is Speech.subtitles or not item.transcript_file.exists():
        missing = "" if config.speech is Speech.subtitles else " and no transcript.json"
        raise ValueError(f"no subtitles.<language>.vtt, .srt or .json3{missing}")
    segments = transcript.read(item.transcript_file).segments
    text = " ".join(word for segment in segments for word in segment.text.split())
    if not text:
        raise ValueError("transcript.json has no text")
    return text


def _head(source: Source, config: CommentConfig) -> str:
    parts = [config.ask]
    if config.title and source.title:
        parts.append(f"Title: {source.title}")
    if config.description and source.description:
        parts.append(f"Description: {source.description}")
    return "\n\n".join(parts)


def _conversation(
    said: str,
    comment: str,
    config: CommentConfig,
    *,
    head: str,
    **known: Any,  # noqa: ANN401  # further fields of the conversation
) -> Conversation:
    head += "\n\nSubtitles:\n"
    return Conversation(
        system=config.system,
        spoken=(
            Spoken(message=Message(role="user", content=head + said, weight=0)),
            Spoken(message=Message(role="assistant", content=comment)),
        ),
        speakers={"assistant": "viewer"},
        gives_way=GivesWay.body,
        body=(len(head), len(head) + len(said)),
        **known,
    )
