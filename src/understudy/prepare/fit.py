"""From conversations to rows that fit the context, with an account of every word."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from understudy.chat.dialect import Dialect, System
from understudy.chat.encoder import Encoder
from understudy.chat.written import write
from understudy.config.task import TaskConfig
from understudy.prepare.count import SLACK, Counted, Counter
from understudy.prepare.cut import BODY, Carry, Cut, Rows, exchanges
from understudy.prepare.oversize import NO_ROOM, NOTHING, Oversize
from understudy.prepare.shorten import Shortener
from understudy.records.conversation import Conversation, GivesWay, Spoken
from understudy.records.rows import Message

WINDOW = "window"
"""Asked: what a task's input loses so that its target stays whole."""
TOO_LONG_TARGET = "a target longer than the context"
NOT_LEARNED = "every message at weight 0"
JOINED = "neighbours of one role joined"
OPENED = "an empty user message put before an assistant's first"
CUT_TURN = "rows that hold a part of a turn"
CUT_BODY = "inputs shortened to fit"
CARRIED = "messages carried as context"
CARRIED_WORDS = "words carried as context"
NEUTRALISED = "template text spelled out in a message and neutralised: "


@dataclass(slots=True)
class Fitted:
    """The rows of one conversation, and what became of the words that are in none."""

    rows: list[Cut] = field(default_factory=list)
    overheads: list[int] = field(default_factory=list)
    """For each row, the tokens it has beside those of its messages."""
    asked: Tally[str] = field(default_factory=Tally)
    unasked: Tally[str] = field(default_factory=Tally)
    notes: Tally[str] = field(default_factory=Tally)
    words_in: int = 0
    """Of the conversation, and of what a name or role written into the text adds."""


class Fitter:
    """Makes rows of at most `context` tokens, template tokens included."""

    def __init__(self, encoder: Encoder, context: int, config: TaskConfig) -> None:
        self.context = context
        self.counter = Counter(encoder)
        self.shortener = Shortener(self.counter)
        self.carry = Carry(config.carry_turns, config.carry_tokens)
        self.arranger = Arranger(encoder.dialect)
        self.notes: Tally[str] = Tally()
        """What the encoder had to change in the messages, by what."""

    def fit(self, talks: Sequence[Conversation]) -> list[Fitted]:
        """Rows for each conversation; all their messages are counted in one batch."""
        fitted = [Fitted() for _ in talks]
        arranged = [
            self.arranger.arrange(talk.spoken, found.notes)
            for talk, found in zip(talks, fitted, strict=True)
        ]
        before = self._encoder_notes()
        counted = self.counter.counted([piece for spoken in arranged for piece in spoken])
        self.notes += self._encoder_notes() - before
        start = 0
        for talk, spoken, found in zip(talks, arranged, fitted, strict=True):
            messages = counted[start : start + len(spoken)]
            start += len(spoken)
            self._fit(talk, messages, found)
        return fitted

    def _encoder_notes(self) -> Tally[str]:
        encoder = self.counter.encoder
        neutral = {f"{NEUTRALISED}{what}": n for what, n in encoder.neutralised.items()}
        return Tally({**neutral, **encoder.notes})

    def _fit(self, talk: Conversation, messages: list[Counted], found: Fitted) -> None:
        found.words_in = sum(message.words for message in messages)
        found.words_in += talk.asked.total() + talk.unasked.total()
        found.asked.update(talk.asked)
        found.unasked.update(talk.unasked)
        found.notes.update(talk.notes)
        slack = SLACK if self.counter.folds(talk.system) else 0
        room = self.context - self.counter.overhead(talk.system) - slack
        if not any(message.spoken.message.weight for message in messages):
            found.asked[NOT_LEARNED] += sum(message.words for message in messages)
        elif room <= 0:
            found.unasked[NO_ROOM] += sum(message.words for message in messages)
        elif talk.gives_way is GivesWay.body:
            self._whole(talk, messages, room, found)
        else:
            self._turns(messages, room, found)
        for row in found.rows:
            found.overheads.append(self.counter.exact_overhead(talk.system, row.messages))
        _note(found)

    def _turns(self, messages: list[Counted], room: int, found: Fitted) -> None:
        rows = Rows(room, self.carry)
        for exchange in exchanges(messages):
            if exchange.tokens <= room:
                rows.add(exchange)
                continue
            rows.close()
            oversize = Oversize(self.shortener, room)
            oversize.take(exchange)
            rows.rows += oversize.rows
            found.unasked.update(+oversize.dropped)
        rows.close()
        for row in rows.rows:
            if any(message.trained for message in row.messages):
                found.rows.append(row)
            else:
                found.unasked[NOTHING] += sum(message.words for message in row.messages)

    def _whole(self, talk: Conversation, messages: list[Counted], room: int, found: Fitted) -> None:
        """One row; if it is too long, the body of the first user message is shortened."""
        cut = ""
        excess = sum(message.tokens for message in messages) - room
        if excess > 0:
            first = next(i for i, message in enumerate(messages) if message.role == "user")
            long = messages[first]
            fits = long.tokens - excess
            short = self._shortened(talk, long, fits)
            if short is None:
                found.unasked[TOO_LONG_TARGET] += sum(message.words for message in messages)
                return
            found.asked[WINDOW] += long.words - short.words
            messages[first] = short
            cut = BODY
        found.rows.append(Cut(messages=tuple(messages), cut=cut))

    def _shortened(self, talk: Conversation, long: Counted, room: int) -> Counted | None:
        if talk.body is None or room <= 0:
            return None
        return self.shortener.body(long.spoken, talk.body, room)


def _note(found: Fitted) -> None:
    for row in found.rows:
        if row.cut:
            found.notes[CUT_BODY if row.cut == BODY else CUT_TURN] += 1
        if row.carried:
            found.notes[CARRIED] += row.carried
            carried = row.messages[: row.carried]
            found.notes[CARRIED_WORDS] += sum(message.spoken.words for message in carried)


class Arranger:
    """Makes messages such as the template can write them, the user's first."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        # Roles and names alone: what depends on a message's place in its row is not yet known.
        self._plain = replace(dialect, alternates=False, default_system=None, system=System.role)

    def arrange(self, spoken: Sequence[Spoken], notes: Tally[str]) -> list[Spoken]:
        """Roles and names the template lacks written into the text; joined where turns alternate.

        Neighbours of one role are joined by an empty line; the whole is learned if both were.
        """
        arranged: list[Spoken] = []
        for piece in spoken:
            fitting = self._known(piece, notes)
            role = fitting.message.role
            if not arranged and role != "user":
                notes[OPENED] += 1
                arranged.append(Spoken(message=Message(role="user", content="", weight=0)))
            if self.dialect.alternates and arranged and arranged[-1].message.role == role:
                notes[JOINED] += 1
                arranged[-1] = _joined(arranged[-1], fitting)
            else:
                arranged.append(fitting)
        return arranged

    def _known(self, piece: Spoken, notes: Tally[str]) -> Spoken:
        message = piece.message
        if message.name is None and message.role in self.dialect.turns:
            return piece
        found = write([message], self._plain, notes, whole=False)[-1]
        role = found.role if found.role in self.dialect.turns else "user"
        said = Message(role=role, content=found.content, weight=found.weight)
        return replace(piece, message=said)


def _joined(earlier: Spoken, later: Spoken) -> Spoken:
    one, other = earlier.message, later.message
    content = "\n\n".join(text for text in (one.content, other.content) if text)
    weight = min(one.weight, other.weight)
    message = replace(one, content=content, weight=weight)
    return replace(earlier, message=message, end=later.end)
