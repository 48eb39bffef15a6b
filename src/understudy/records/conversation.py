"""A conversation: what a task makes of one item, before it is cut to the context."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from understudy.records.rows import Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """A message and the time it was said."""

    message: Message
    start: float | None = None
    """Seconds."""
    end: float | None = None

    @property
    def words(self) -> int:
        """Whitespace-separated words."""
        return len(self.message.content.split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Alternating messages, the user's first, of any length."""

    spoken: tuple[Spoken, ...]
    system: str | None = None
    speakers: dict[str, str] = field(default_factory=dict)
    """Name of who speaks, by role."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Words left out by the task, by reason."""
