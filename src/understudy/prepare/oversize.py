"""An exchange longer than the context: cut between its turns, and within those too long alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from understudy.prepare.count import Counted
from understudy.prepare.cut import TURN, Cut, Exchange
from understudy.prepare.shorten import Shortener

LEAD_SHARE = 4
"""A fourth of a row, at most, repeats the end of what the user said before a long answer."""
TOO_LONG_WORD = "a word longer than the context"
NO_ROOM = "the system message fills the context"
CROWDED_OUT = "what the user said before an answer that fills the row"
NOTHING = "a row with nothing to learn"


@dataclass(slots=True)
class Oversize:
    """Makes rows of one exchange; what does not fit any is counted by reason."""

    shortener: Shortener
    room: int
    rows: list[Cut] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    _row: list[Counted] = field(default_factory=list)
    _lead: Counted | None = None
    """What the user said last."""
    _cut: bool = False
    _carried: int = 0

    def take(self, exchange: Exchange) -> None:
        """Make rows of an exchange's messages, each starting with the user."""
        if self._silence(exchange.messages[0]).tokens * LEAD_SHARE > self.room:
            self.dropped[NO_ROOM] += sum(message.words for message in exchange.messages)
            return
        for message in exchange.messages:
            if message.role == "user":
                self._user(message)
            else:
                self._answer(message)
        self._flush()

    def _silence(self, message: Counted) -> Counted:
        """Nothing, said by the role of `message`."""
        return self.shortener.silence(message.spoken)

    @property
    def _left(self) -> int:
        return self.room - sum(message.tokens for message in self._row)

    def _user(self, message: Counted) -> None:
        if message.tokens > self._left:
            self._flush()
        if message.tokens > self.room:
            *others, message = self._parts(message, self.room) or [self._silence(message)]
            for part in others:
                self._row, self._cut = [part], True
                self._flush()
            self._cut = True
        self._row.append(message)
        self._lead = message

    def _answer(self, message: Counted) -> None:
        assert self._lead is not None, "an exchange starts with the user"
        if message.tokens <= self._left:
            self._row.append(message)
            return
        beside = self.room - self._left
        hopeless = message.tokens + self._silence(self._lead).tokens > self.room
        if not hopeless or beside > self.room // LEAD_SHARE:
            self._begin(self._lead, message, self._end())
        if message.tokens <= self._left:
            self._row.append(message)
        else:
            self._in_parts(message)

    def _in_parts(self, message: Counted) -> None:
        """Give each part of an answer a row that starts as the row begun does."""
        lead = list(self._row)
        for number, part in enumerate(self._parts(message, self._left)):
            if number:
                self._flush()
                self._row = [one.as_context() for one in lead]
                self._carried = len(lead)
            self._row.append(part)
            self._cut = True

    def _begin(self, lead: Counted, message: Counted, owed: int) -> None:
        """Begin a row with the end of what the user said; `owed` words of it are in no row yet."""
        budget = max(self.room - message.tokens, self.room // LEAD_SHARE)
        short = lead.as_context()
        if lead.tokens > budget:
            tail = self.shortener.tail(lead.spoken, budget)
            assert tail is not None, "there is room for an empty message"
            short = tail
        held = min(owed, short.spoken.words)
        self.dropped[CROWDED_OUT] += owed - held
        self._row = [replace(short, words=held)]
        self._carried = 0 if owed else 1

    def _parts(self, message: Counted, room: int) -> list[Counted]:
        parts, lost = self.shortener.parts(message.spoken, room)
        self.dropped[TOO_LONG_WORD] += lost
        return parts

    def _flush(self) -> None:
        """End the row."""
        self.dropped[NOTHING] += self._end()

    def _end(self) -> int:
        """End the row. One with nothing to learn is no row: returns the words it would hold."""
        row, self._row = self._row, []
        cut, self._cut = TURN if self._cut else "", False
        carried, self._carried = self._carried, 0
        if any(message.trained for message in row):
            self.rows.append(Cut(messages=tuple(row), carried=carried, cut=cut))
            return 0
        return sum(message.words for message in row)
