"""Chat rows of a prepared set: OpenAI `messages` with a weight each, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.records import jsonl


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """`system`, `user`, `assistant` or `tool`."""
    content: str
    weight: int = 1
    """1: learned. 0: read, not learned."""
    name: str | None = None
    """Who speaks, where the source says so: a participant, or the tool that answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meta:
    """Where a row comes from."""

    corpus: str
    item: str
    category: str | None = None
    licence: str | None = None
    start: float | None = None
    """Seconds into the item."""
    end: float | None = None
    speakers: dict[str, str] = field(default_factory=dict)
    """Name of who speaks, by role."""
    creator: str | None = None
    cut: str = ""
    """What was cut to make the row fit: nothing, `turn` (a turn longer than the context, at its
    sentences) or `body` (the input that a task's target was made from)."""
    carried: int = 0
    """Messages at the row's start that the row before it ends with, repeated at weight 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One training example."""

    messages: tuple[Message, ...]
    meta: Meta

    @property
    def words(self) -> int:
        """Whitespace-separated words of all messages but the system's."""
        return sum(len(m.content.split()) for m in self.messages if m.role != "system")


def line(row: Row) -> str:
    """One row as one line of JSON, newline included.

    Every row has the same fields: tools that infer a schema from the first rows (datasets) refuse
    a file in which a new one turns up later.
    Field by field: a set has millions of messages, and walking dataclasses costs more than
    tokenising them.
    """
    messages = []
    for message in row.messages:
        record: dict[str, Any] = {
            "role": message.role,
            "content": message.content,
            "weight": message.weight,
        }
        if message.name is not None:
            record["name"] = message.name
        messages.append(record)
    meta = {name: getattr(row.meta, name) for name in META_FIELDS}
    return json.dumps({"messages": messages, "meta": meta}, ensure_ascii=False) + "\n"


META_FIELDS = tuple(Meta.__dataclass_fields__)


def each(path: Path) -> Iterator[Row]:
    """The rows of a prepared set, one after the other.

    Raises:
        ValueError: a line is not a row; the message names file and line.
    """
    for number, record in jsonl.numbered(path):
        if isinstance(record, jsonl.BadLine):
            raise ValueError(f"{path}: line {record.line}: {record.reason}")  # noqa: TRY004
        try:
            yield from_record(record)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: line {number}: not a row ({error!r})") from None


def read(path: Path) -> list[Row]:
    """All rows of a prepared set.

    Raises:
        ValueError: a line is not a row; the message names file and line.
    """
    return list(each(path))


def from_record(record: dict[str, Any]) -> Row:
    """A line's object as a row.

    Raises:
        KeyError: a field is missing.
        TypeError: a field is of the wrong kind or not known.
    """
    messages = tuple(Message(**message) for message in record["messages"])
    return Row(messages=messages, meta=Meta(**record["meta"]))
