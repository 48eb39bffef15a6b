"""Cuts a talk at turn boundaries into the fewest rows that fit, each starting with the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.prepare.count import Counted

TURN = "turn"
"""`Meta.cut` of a row that holds a part of a turn."""
BODY = "body"
"""`Meta.cut` of a row whose input was shortened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """The messages of one row, without the system message."""

    messages: tuple[Counted, ...]
    carried: int = 0
    """Messages at its start that another row has, too."""
    cut: str = ""
    """See `Meta.cut`."""

    @property
    def tokens(self) -> int:
        """Tokens of all messages."""
        return sum(message.tokens for message in self.messages)


@dataclass(frozen=True, slots=True)
class Carry:
    """How much of what came before a cut is repeated behind it, at weight 0."""

    turns: int = 0
    """Messages; rounded up to whole exchanges, so that the row starts with the user."""
    tokens: int = 0
    """Or as many exchanges as fit into this many tokens."""

    def choose(self, before: Sequence[Exchange], room: int) -> list[Exchange]:
        """The exchanges to repeat: no more than asked for, no more than there is room for."""
        chosen: list[Exchange] = []
        messages = tokens = 0
        for exchange in reversed(before):
            asked = messages < self.turns or tokens + exchange.tokens <= self.tokens
            if not asked or tokens + exchange.tokens > room:
                break
            chosen.insert(0, exchange)
            messages += len(exchange.messages)
            tokens += exchange.tokens
        return chosen


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the user says and what follows until the user speaks again: never cut if it fits."""

    messages: tuple[Counted, ...]
    tokens: int


def exchanges(messages: Sequence[Counted]) -> list[Exchange]:
    """Group messages, the user's first, into exchanges."""
    groups: list[list[Counted]] = []
    previous = None
    for message in messages:
        if message.role == "user" and previous != "user":
            groups.append([])
        groups[-1].append(message)
        previous = message.role
    return [Exchange(tuple(group), sum(m.tokens for m in group)) for group in groups]


class Rows:
    """Rows in the making. Filling each as far as it goes is optimal for consecutive pieces."""

    def __init__(self, room: int, carry: Carry) -> None:
        self.room = room
        self.carry = carry
        self.rows: list[Cut] = []
        self._carried: list[Exchange] = []
        self._open: list[Exchange] = []
        self._left = 0

    def add(self, exchange: Exchange) -> None:
        """Put an exchange that fits a row behind those before it."""
        assert exchange.tokens <= self.room, "the exchange fits no row"
        if not self._open or exchange.tokens > self._left:
            before = self._open
            self.close()
            self._carried = self.carry.choose(before, self.room - exchange.tokens)
            self._left = self.room - sum(carried.tokens for carried in self._carried)
        self._open.append(exchange)
        self._left -= exchange.tokens

    def close(self) -> None:
        """End the row that is being filled."""
        if self._open:
            carried = [m.as_context() for one in self._carried for m in one.messages]
            own = [message for one in self._open for message in one.messages]
            self.rows.append(Cut(messages=(*carried, *own), carried=len(carried)))
        self._open, self._carried, self._left = [], [], 0
