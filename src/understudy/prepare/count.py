"""Tokens of messages: each is counted once, with what the template writes around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from understudy.chat.dialect import System
from understudy.chat.encoder import Encoder
from understudy.records.conversation import Spoken
from understudy.records.rows import Message

SLACK = 4
"""Tokens kept free in a row whose system text is folded into a user turn: where the two texts
meet they may be other tokens than apart."""
KEPT = 1000
"""System texts whose size is remembered (each episode may have its own)."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A message that knows its size."""

    spoken: Spoken
    tokens: int
    """What the template writes around the text included."""
    trained: int
    """How many of the tokens are learned."""
    words: int
    """What the ledger counts here; 0 for a message that repeats what another row has."""

    @property
    def role(self) -> str:
        """The message's role."""
        return self.spoken.message.role

    def as_context(self) -> Counted:
        """The same message read once more, at weight 0."""
        message = replace(self.spoken.message, weight=0)
        return Counted(replace(self.spoken, message=message), self.tokens, 0, 0)


class Counter:
    """Counts tokens with an encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._overhead: dict[str | None, int] = {}
        self._around: dict[str, int] = {}

    def overhead(self, system: str | None) -> int:
        """Tokens that a row pays beside its messages; about, where the system text is folded."""
        if system not in self._overhead:
            if len(self._overhead) >= KEPT:
                self._overhead.clear()
            self._overhead[system] = self.encoder.overhead(system)
        return self._overhead[system]

    def folds(self, system: str | None) -> bool:
        """Whether the system text becomes part of a user turn."""
        return bool(system) and self.encoder.dialect.system is not System.role

    def exact_overhead(self, system: str | None, messages: Sequence[Counted]) -> int:
        """Tokens that a row of these messages pays beside them."""
        if system is None or not self.folds(system):
            return self.overhead(system)
        users = [message for message in messages if message.role == "user"]
        place = -1 if self.encoder.dialect.system is System.last_user else 0
        fold = self.encoder.fold(system, users[place].spoken.message)
        return self.overhead(None) + fold

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of each message, the template's included."""
        return self.encoder.counts(messages)

    def counted(self, spoken: Sequence[Spoken]) -> list[Counted]:
        """Messages with their sizes, counted in one batch."""
        sizes = self.tokens([piece.message for piece in spoken])
        return [
            Counted(piece, size, self._trained(piece.message, size), piece.words)
            for piece, size in zip(spoken, sizes, strict=True)
        ]

    def _trained(self, message: Message, tokens: int) -> int:
        return tokens - self.around(message.role) if message.weight else 0

    def around(self, role: str) -> int:
        """Tokens of a message that are never learned: before its text, and behind its end."""
        if role not in self._around:
            trained = self.encoder.message(Message(role=role, content="x")).trained
            self._around[role] = len(trained) - sum(trained)
        return self._around[role]
