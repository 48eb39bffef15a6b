"""A structured summary as a person wrote it: read from Markdown or JSON, written as either."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.records import fields

HEADINGS = {
    "summary": "summary",
    "overall summary": "summary",
    "overview": "summary",
    "chapters": "chapters",
    "chapter summaries": "chapters",
    "key points": "key_points",
    "takeaways": "key_points",
    "tags": "tags",
    "keywords": "tags",
    "outlook": "outlook",
}
"""Headings of a Markdown summary, and which part stands below each."""

PARTS = ("summary", "chapters", "key_points", "tags", "outlook")
HEADING = re.compile(r"^(#{1,6})\s+(.*?)[\s#]*$")
BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
TIMES = re.compile(r"^\[[\d:.\s\u2013-]+\]\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChapterSummary:
    """What one chapter says."""

    title: str
    summary: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a video says, in parts; a part that was not written is empty."""

    summary: str = ""
    """The whole in a few sentences."""
    chapters: tuple[ChapterSummary, ...] = ()
    key_points: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    outlook: str = ""

    def json(self) -> str:
        """The parts that there are, as one JSON object."""
        record: dict[str, Any] = {
            "summary": self.summary,
            "chapters": [{"title": c.title, "summary": c.summary} for c in self.chapters],
            "key_points": list(self.key_points),
            "tags": list(self.tags),
            "outlook": self.outlook,
        }
        return json.dumps({k: v for k, v in record.items() if v}, ensure_ascii=False)

    def markdown(self) -> str:
        """The parts that there are, each below its heading."""
        chapters = (f"### {c.title}\n\n{c.summary}".strip() for c in self.chapters)
        parts = (
            ("Summary", self.summary),
            ("Chapters", "\n\n".join(chapters)),
            ("Key points", "\n".join(f"- {point}" for point in self.key_points)),
            ("Tags", ", ".join(self.tags)),
            ("Outlook", self.outlook),
        )
        return "\n\n".join(f"## {heading}\n\n{text}" for heading, text in parts if text)


def read(folder: Path, *, prefer_json: bool) -> str | dict[str, Any]:
    """An item's `target.summary.md` as text or `target.summary.json` as an object.

    Raises:
        ValueError: there is neither, or it cannot be read; the message names the file.
    """
    files = [folder / "target.summary.md", folder / "target.summary.json"]
    there = [file for file in (files[::-1] if prefer_json else files) if file.exists()]
    if not there:
        raise ValueError("no target.summary.md and no target.summary.json: nothing to learn")
    try:
        text = there[0].read_text(encoding="utf-8-sig").strip()
        found = json.loads(text) if there[0].suffix == ".json" else text
    except ValueError as error:
        raise ValueError(f"{there[0]}: {error}") from None
    if not found or not isinstance(found, (str, dict)):
        raise ValueError(f"{there[0]}: no summary")
    return found


def parse(written: str | dict[str, Any]) -> Summary:
    """A summary from Markdown, from a JSON object, or from a text that holds one.

    Raises:
        ValueError: a part is of the wrong kind, or a heading or key is none of ours.
    """
    if isinstance(written, dict):
        return from_json(written)
    return from_json(json.loads(written)) if is_json(written) else from_markdown(written)


def is_json(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return text.lstrip().startswith("{") and isinstance(json.loads(text), dict)
    except json.JSONDecodeError:
        return False


def from_json(record: dict[str, Any]) -> Summary:
    """Read the object that `Summary.json` writes; chapters may hold times as well.

    Raises:
        ValueError: a key is unknown, or a value is of the wrong kind.
    """
    unknown = [key for key in record if key not in PARTS]
    if unknown:
        raise ValueError(f"summary: unknown key {unknown[0]}: use {', '.join(PARTS)}")
    return Summary(
        summary=fields.optional(record, "summary"),
        chapters=tuple(_chapter(chapter) for chapter in record.get("chapters") or ()),
        key_points=_texts(record, "key_points"),
        tags=_texts(record, "tags"),
        outlook=fields.optional(record, "outlook"),
    )


def _chapter(record: Any) -> ChapterSummary:  # noqa: ANN401  # any JSON value
    if not isinstance(record, dict):
        raise ValueError(f"summary: a chapter is {fields.kind(record)}")  # noqa: TRY004
    return ChapterSummary(
        title=fields.text(record, "title"), summary=fields.optional(record, "summary")
    )


def _texts(record: dict[str, Any], name: str) -> tuple[str, ...]:
    value = record.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"summary: {name} is no list of texts")
    return tuple(one.strip() for one in value if one.strip())


def from_markdown(text: str) -> Summary:
    """Read a summary under headings; text before the first of ours is the overall summary.

    Raises:
        ValueError: text stands below a heading that names no part.
    """
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    current, depth = "summary", 6
    for line in text.splitlines():
        heading = HEADING.match(line)
        if heading is None:
            parts[current].append(line)
            continue
        level, title = len(heading[1]), heading[2].strip().rstrip(":")
        part = HEADINGS.get(title.casefold())
        if part is not None:
            current, depth = part, level
        elif current == "chapters" and level > depth:
            parts[current].append(line)
        elif level > 1:
            known = ", ".join(sorted(HEADINGS))
            raise ValueError(f"summary: the heading {title!r} is none of {known}")
    return Summary(
        summary=_block(parts["summary"]),
        chapters=tuple(_chapters(parts["chapters"])),
        key_points=tuple(_listed(parts["key_points"])),
        tags=tuple(_tags(parts["tags"])),
        outlook=_block(parts["outlook"]),
    )


def _block(lines: list[str]) -> str:
    return "\n".join(lines).strip()


def _listed(lines: list[str]) -> list[str]:
    return [BULLET.sub("", line).strip() for line in lines if line.strip()]


def _tags(lines: list[str]) -> list[str]:
    return [tag.strip() for line in _listed(lines) for tag in line.split(",") if tag.strip()]


def _chapters(lines: list[str]) -> list[ChapterSummary]:
    """Chapters under headings of their own, else as a list of `title: summary`."""
    found: list[tuple[str, list[str]]] = []
    headed = any(HEADING.match(line) for line in lines)
    for line in lines:
        heading = HEADING.match(line)
        if heading is not None:
            found.append((TIMES.sub("", heading[2].strip()), []))
        elif not headed and BULLET.match(line):
            title, _, rest = TIMES.sub("", BULLET.sub("", line).lstrip("* ")).partition(":")
            found.append((title.strip("* "), [rest.strip("* ")]))
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"summary: {line.strip()!r} stands before the first chapter")
    return [ChapterSummary(title=title, summary=_block(text)) for title, text in found]
