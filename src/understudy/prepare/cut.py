"""Cuts a conversation at turn boundaries into rows that fit the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.chat.encoder import Encoder
from understudy.records.conversation import Spoken

TOO_LONG = "an exchange longer than the context"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A user's message and the answer to it: the smallest piece that a row is made of."""

    spoken: tuple[Spoken, ...]
    tokens: int
    """What the template writes around the messages included."""
    trained: int
    """How many of the tokens are learned."""

    @property
    def words(self) -> int:
        """Whitespace-separated words."""
        return sum(piece.words for piece in self.spoken)


def exchanges(spoken: Sequence[Spoken], encoder: Encoder) -> list[Exchange]:
    """Group alternating messages, the user's first, into exchanges; each is tokenised once."""
    encoded = [encoder.message(piece.message) for piece in spoken]
    grouped = []
    for start in range(0, len(spoken), 2):
        part = slice(start, start + 2)
        grouped.append(
            Exchange(
                spoken=tuple(spoken[part]),
                tokens=sum(len(message.ids) for message in encoded[part]),
                trained=sum(sum(message.trained) for message in encoded[part]),
            )
        )
    return grouped


def cut(pieces: Sequence[Exchange], room: int) -> tuple[list[list[Exchange]], list[Exchange]]:
    """The fewest rows of consecutive exchanges with at most `room` tokens each.

    Filling each row as far as it goes is optimal for consecutive pieces. An exchange that does not
    fit a row of its own ends the row before it and is handed back.

    Returns:
        The rows, and the exchanges that are longer than `room`.
    """
    rows: list[list[Exchange]] = []
    too_long: list[Exchange] = []
    left = 0
    for piece in pieces:
        if piece.tokens > room:
            too_long.append(piece)
            left = 0
        elif piece.tokens <= left:
            rows[-1].append(piece)
            left -= piece.tokens
        else:
            rows.append([piece])
            left = room - piece.tokens
    return rows, too_long
