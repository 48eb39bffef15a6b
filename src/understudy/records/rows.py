"""Chat rows of a prepared set: OpenAI `messages` with a weight each, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.records import jsonl


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str
    weight: int = 1
    """1: learned. 0: read, not learned."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One training example."""

    messages: tuple[Message, ...]
    meta: Meta

    @property
    def words(self) -> int:
        """Whitespace-separated words of all messages but the system's."""
        return sum(len(m.content.split()) for m in self.messages if m.role != "system")


def read(path: Path) -> list[Row]:
    """The rows of a prepared set.

    Raises:
        ValueError: a line is not a row; the message names file and line.
    """
    rows = []
    for number, record in enumerate(jsonl.read(path), start=1):
        if isinstance(record, jsonl.BadLine):
            raise ValueError(f"{path}: line {record.line}: {record.reason}")  # noqa: TRY004
        try:
            rows.append(_row(record))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: line {number}: not a row ({error!r})") from None
    return rows


def _row(record: dict[str, Any]) -> Row:
    messages = tuple(Message(**message) for message in record["messages"])
    return Row(messages=messages, meta=Meta(**record["meta"]))
