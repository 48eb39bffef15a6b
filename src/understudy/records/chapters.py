"""Chapters of an item: from `source.json`, from `chapters.json`, or as another tool wrote them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from understudy.records import assemblyai
from understudy.records.item import Chapter, Item

STARTS, ENDS = ("start_seconds", "start_time"), ("end_seconds", "end_time")
"""Names that the times bear in our files and in yt-dlp's; `start` and `end` are AssemblyAI's."""


def of_item(item: Item) -> list[Chapter]:
    """The chapters of `source.json`; where it has none those of `chapters.json`, if there is one.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    found = item.source().chapters
    file = item.folder / "chapters.json"
    if found or not file.exists():
        return found
    try:
        return parse(json.loads(file.read_text(encoding="utf-8-sig")))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def parse(record: Any) -> list[Chapter]:  # noqa: ANN401  # any JSON value
    """Chapters from a list, or from an object that holds one as `chapters`.

    Raises:
        ValueError: it is no such list, or a chapter has no title or no times.
    """
    listed = record.get("chapters") if isinstance(record, dict) else record
    if not isinstance(listed, list):
        raise ValueError("no list of chapters")  # noqa: TRY004  # the file is wrong, not a type
    return [_chapter(number, chapter) for number, chapter in enumerate(listed, start=1)]


def _chapter(number: int, record: Any) -> Chapter:  # noqa: ANN401  # any JSON value
    if assemblyai.is_chapter(record):
        return assemblyai.chapter(record)
    if not isinstance(record, dict) or not isinstance(record.get("title"), str):
        raise ValueError(f"chapter {number}: no title")  # noqa: TRY004  # the file is wrong
    try:
        start, end = (_time(record, names) for names in (STARTS, ENDS))
    except (TypeError, ValueError):
        raise ValueError(f"chapter {number}: {record['title']}: no start and end") from None
    return Chapter(start_seconds=start, end_seconds=end, title=record["title"])


def _time(record: dict[str, Any], names: tuple[str, ...]) -> float:
    return float(next((record[name] for name in names if name in record), "none"))


def clock(seconds: float) -> str:
    """`4:05`, or `1:04:05` from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def listing(chapters: Sequence[Chapter]) -> str:
    """One line a chapter: `[0:00-1:44] Up the car park`."""
    return "\n".join(
        f"[{clock(one.start_seconds)}-{clock(one.end_seconds)}] {one.title}" for one in chapters
    )
