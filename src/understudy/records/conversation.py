"""A conversation: what a task makes of its material, before it is cut to the context."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from understudy.records.rows import Message


class GivesWay(Enum):
    """What is cut where a conversation is longer than the context."""

    turns = "turns"
    """The talk is cut at turn boundaries into several rows."""
    body = "body"
    """The target stays whole: `body` of the first user message is shortened at sentences."""


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
    """Messages of any length and number; `prepare` makes them alternate and fit."""

    spoken: tuple[Spoken, ...]
    """User, assistant (and tool) messages; the system message is `system`."""
    system: str | None = None
    speakers: dict[str, str] = field(default_factory=dict)
    """Name of who speaks, by role."""
    asked: Counter[str] = field(default_factory=Counter)
    """Words left out because the config asks for it (a policy, a filter, a window), by reason."""
    unasked: Counter[str] = field(default_factory=Counter)
    """Words left out though nobody asked, by reason; too large a share of these is an error."""
    notes: Counter[str] = field(default_factory=Counter)
    """What else was done to it, counted by what: `turns joined`, `back-channels kept`, ..."""
    gives_way: GivesWay = GivesWay.turns
    body: tuple[int, int] | None = None
    """GivesWay.body: characters [first, last) of the first user message that may be shortened."""
    category: str | None = None
    creator: str | None = None
    licence: str | None = None
    side: str | None = None
    """`train` or `valid` where the source itself says so (a separate validation file)."""

    @property
    def words_in(self) -> int:
        """Everything there was: what is spoken and what the task left out."""
        spoken = sum(piece.words for piece in self.spoken)
        return spoken + self.asked.total() + self.unasked.total()
