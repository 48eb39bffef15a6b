"""Viewer comments: `comments.jsonl` in yt-dlp's shape, read without who wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.records import jsonl

HANDLE = re.compile(r"(?<![\w.@/])@(?!viewer\d+\b)[^\W_][\w.\-]*[^\W_]|(?<![\w.@/])@[^\W_]\b")
ADDRESS = re.compile(r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+")
ADDRESS_REMOVED = "(address)"
LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comment:
    """What a viewer wrote. Who it was is not kept."""

    text: str
    """Handles, names of commenters and e-mail addresses replaced."""
    likes: int
    reply: bool
    """An answer to another comment."""
    replaced: int
    """How many handles, names and addresses were replaced in the text."""

    @property
    def words(self) -> int:
        """Whitespace-separated words."""
        return len(self.text.split())

    @property
    def has_link(self) -> bool:
        """Whether it holds an address of a page."""
        return LINK.search(self.text) is not None


def read(path: Path) -> tuple[list[Comment], list[jsonl.BadLine]]:
    """The comments of an item in the file's order, and the lines that hold none.

    Raises:
        ValueError: there is no such file; the message says so.
    """
    if not path.exists():
        raise ValueError("no comments.jsonl: collect the video's comments first")
    records: list[dict[str, Any]] = []
    bad: list[jsonl.BadLine] = []
    for number, record in enumerate(jsonl.read(path), start=1):
        if isinstance(record, jsonl.BadLine):
            bad.append(record)
        elif not isinstance(record.get("text"), str) or not _is_count(record.get("like_count")):
            bad.append(jsonl.BadLine(path=path, line=number, reason="no text, or odd like_count"))
        else:
            records.append(record)
    hidden = Names(str(record["author"]) for record in records if record.get("author"))
    return [_comment(record, hidden) for record in records], bad


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _comment(record: dict[str, Any], hidden: Names) -> Comment:
    text, replaced = hidden.replaced(" ".join(str(record["text"]).split()))
    return Comment(
        text=text,
        likes=int(record.get("like_count") or 0),
        reply=record.get("parent") not in (None, "root", ""),
        replaced=replaced,
    )


class Names:
    """Takes out of texts who wrote or is addressed in them.

    Every `@handle` goes, whoever it is. Of a commenter's display name only what cannot be an
    ordinary word goes without the `@`: names of several parts, or with a digit or `_` in them.
    """

    def __init__(self, authors: Iterable[str]) -> None:
        names = {name.strip().lstrip("@") for name in authors}
        telling = sorted((n for n in names if re.search(r"\w\W+\w|[\d_]", n)), key=len)[::-1]
        either = "|".join(re.escape(name) for name in telling if not name.isdecimal())
        self.known = re.compile(rf"(?<!\w)@?(?:{either})(?!\w)", re.IGNORECASE) if either else None

    def replaced(self, text: str) -> tuple[str, int]:
        """The text with `@viewer1`, `@viewer2`, ... for those named, and how many places."""
        numbers: dict[str, str] = {}

        def stand_in(match: re.Match[str]) -> str:
            name = match[0].lstrip("@").casefold()
            return numbers.setdefault(name, f"@viewer{len(numbers) + 1}")

        text, addresses = ADDRESS.subn(ADDRESS_REMOVED, text)
        known = 0
        if self.known is not None:
            text, known = self.known.subn(stand_in, text)
        text, handles = HANDLE.subn(stand_in, text)
        return text, addresses + known + handles
