"""Texts that are too long: cut behind sentences, behind words where a sentence is too long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

from understudy.prepare.count import Counted, Counter
from understudy.prepare.sentences import Span, sentences, words
from understudy.records.conversation import Spoken
from understudy.records.rows import Message


@dataclass(frozen=True, slots=True)
class Cuttable:
    """A text's pieces that are not to be cut further, and about how many tokens each has."""

    spans: list[Span]
    tokens: list[int]


class Shortener:
    """Cuts messages. Sizes of pieces are guesses, as tokens do not add up; the cut is counted."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def parts(self, spoken: Spoken, room: int) -> tuple[list[Counted], int]:
        """A message as several of at most `room` tokens, each with its own end token.

        Returns:
            The parts, and the words that no part holds: those that are longer than `room` alone.
        """
        text = spoken.message.content
        pieces = self._pieces(text, spoken.message.role, room, (0, len(text)))
        parts: list[Counted] = []
        lost = start = 0
        while start < len(pieces.spans):
            part, end = self._longest(spoken, pieces, start, room)
            if part is None:
                lost += 1
            else:
                parts.append(part)
            start = end
        return parts, lost

    def silence(self, spoken: Spoken) -> Counted:
        """An empty message of the same role, at weight 0."""
        return replace(self._one(spoken, "").as_context(), words=0)

    def tail(self, spoken: Spoken, room: int) -> Counted | None:
        """The end of a message, at most `room` tokens of it, at weight 0; None if none fits."""
        text = spoken.message.content
        pieces = self._pieces(text, spoken.message.role, room, (0, len(text)))
        empty = self._one(spoken, "").tokens
        sums = list(accumulate(reversed(pieces.tokens)))
        fitting = sum(total + empty <= room for total in sums)
        while fitting >= 0:
            start = pieces.spans[-fitting][0] if fitting else len(text)
            found = self._one(spoken, text[start:])
            if found.tokens <= room:
                return found.as_context()
            fitting -= 1
        return None

    def body(self, spoken: Spoken, body: Span, room: int) -> Counted | None:
        """A message of at most `room` tokens, its body shortened to its beginning; None if none."""
        text, (first, last) = spoken.message.content, body
        head, foot = text[:first], text[last:]
        empty = self._one(spoken, head + foot).tokens
        if empty > room:
            return None
        pieces = self._pieces(text, spoken.message.role, room - empty, body)
        fitting = sum(total + empty <= room for total in accumulate(pieces.tokens))
        while fitting > 0:
            found = self._one(spoken, text[: pieces.spans[fitting - 1][1]] + foot)
            if found.tokens <= room:
                return found
            fitting -= 1
        return self._one(spoken, head + foot)

    def _one(self, spoken: Spoken, text: str) -> Counted:
        return self.counter.counted(
            [replace(spoken, message=replace(spoken.message, content=text))]
        )[0]

    def _longest(
        self, spoken: Spoken, pieces: Cuttable, start: int, room: int
    ) -> tuple[Counted | None, int]:
        """The longest part from piece `start` on, and the piece after it; None: none fits."""
        text = spoken.message.content
        left = room
        end = start
        while end < len(pieces.spans) and pieces.tokens[end] <= left:
            left -= pieces.tokens[end]
            end += 1
        while end > start:
            found = self._one(spoken, text[pieces.spans[start][0] : pieces.spans[end - 1][1]])
            if found.tokens <= room:
                return found, end
            end -= 1
        return None, start + 1

    def _pieces(self, text: str, role: str, room: int, span: Span) -> Cuttable:
        spans = sentences(text, *span)
        sizes = self._sizes(text, role, spans)
        empty = self._sizes(text, role, [(0, 0)])[0]
        cuttable = Cuttable([], [])
        for piece, size in zip(spans, sizes, strict=True):
            inner = [piece] if size <= room else words(text, piece)
            cuttable.spans.extend(inner)
            found = [size] if size <= room else self._sizes(text, role, inner)
            cuttable.tokens.extend(max(1, tokens - empty) for tokens in found)
        return cuttable

    def _sizes(self, text: str, role: str, spans: list[Span]) -> list[int]:
        return self.counter.tokens([Message(role=role, content=text[a:b]) for a, b in spans])
