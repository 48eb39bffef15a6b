"""Messages to token ids and back: the only place that does so, for every stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from understudy.chat.dialect import Dialect, System
from understudy.chat.form import Form, Former
from understudy.chat.spelled import Neutraliser
from understudy.chat.written import Written, known, write
from understudy.records.rows import Message

IGNORED = -100
"""Label of a token that is read but not learned (the index that cross-entropy leaves out)."""

STRADDLING = "tokens that join template and text: read, not learned"
FOLD_SLACK = 8
"""Tokens by which the first word of a text may grow when it no longer opens its turn."""
LEADS_KEPT = 4096
"""Untrained leads (system texts, mostly) whose ids are remembered."""
BATCH = 4096
"""Texts handed to the tokenizer at a time, so that memory stays flat."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a row and, for each, whether it is learned."""

    ids: list[int]
    trained: list[bool]

    @property
    def labels(self) -> list[int]:
        """The ids where trained, IGNORED elsewhere; not yet shifted."""
        return [i if t else IGNORED for i, t in zip(self.ids, self.trained, strict=True)]

    def __add__(self, other: Encoded) -> Encoded:
        return Encoded(self.ids + other.ids, self.trained + other.trained)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The plain text of a message as it goes to the tokenizer."""

    message: Written
    form: Form
    anchor: str
    lead: str
    """Its part that is never trained."""
    text: str


class Encoder:
    """A tokenizer that speaks a dialect.

    Each message is tokenised by itself, from control token to control token: counts of messages
    add up exactly, and a special token written out in a text stays text.

    Attributes:
        neutralised: What texts spelled out of the template, by what, since the encoder was made.
        notes: What else had to be changed for the template, by what.
    """

    def __init__(self, tokenizer: Any, dialect: Dialect) -> None:  # noqa: ANN401  # transformers has no types
        self.tokenizer = tokenizer
        self.dialect = dialect
        self.backend = tokenizer.backend_tokenizer
        self.neutralised: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self._former = former = Former(tokenizer, dialect)
        self._forms = {role: former.form(turn) for role, turn in dialect.turns.items()}
        self._bos = former.ids(former.resolved(dialect.bos))
        self._finish = former.ids(former.resolved(dialect.finish))
        specials = [text for text, token in former.added.items() if token.special]
        markers = {**dialect.markers, **former.loose()}
        self._neutral = Neutraliser(specials, markers, self.neutralised)
        self._leads: dict[tuple[str, str], list[int]] = {}

    # --- messages ---

    def message(self, message: Message) -> Encoded:
        """One message with what the template writes around it.

        The text is learned together with its end token where the weight is 1.

        Raises:
            ValueError: the dialect cannot write this role.
        """
        return self.messages([message])[0]

    def messages(self, messages: Sequence[Message]) -> list[Encoded]:
        """Many messages at once, of one row or of many: the fast way.

        Raises:
            ValueError: the dialect cannot write one of the roles.
        """
        out: list[Encoded] = []
        for start in range(0, len(messages), BATCH):
            stretches = [self._stretch(one) for one in messages[start : start + BATCH]]
            for stretch, tokens in zip(stretches, self._tokens(stretches), strict=True):
                out.append(self._encoded(stretch, tokens.ids))
        return out

    def counts(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of each message, what the template writes around it included.

        Raises:
            ValueError: the dialect cannot write one of the roles.
        """
        out: list[int] = []
        for start in range(0, len(messages), BATCH):
            stretches = [self._stretch(one) for one in messages[start : start + BATCH]]
            for stretch, tokens in zip(stretches, self._tokens(stretches), strict=True):
                plain = len(tokens) - len(self._lead_ids(stretch.anchor, ""))
                out.append(plain + self._around(stretch))
        return out

    def _around(self, stretch: _Stretch) -> int:
        form = stretch.form
        finish = len(self._finish) if stretch.message.last else 0
        return len(form.before) + len(form.end) + len(form.after) + finish

    def _stretch(self, message: Message) -> _Stretch:
        if not isinstance(message, Written):
            message = known(message, self.dialect, self.notes)
        form = self._forms.get(message.role)
        if form is None:
            raise ValueError(f"the dialect {self.dialect.name} cannot write role {message.role}")
        system = ""
        if message.system is not None:
            before, behind = self.dialect.system_frame
            system = f"{before}{self._neutral(message.system)}{behind}"
        text = self._neutral(message.content)
        return _Stretch(
            message=message,
            form=form,
            anchor=form.first_anchor if message.first else form.anchor,
            lead=self._spaced(form.leading(system, text)),
            text=self._spaced(form.stretch(system + text)),
        )

    def _spaced(self, text: str) -> str:
        # Sentencepiece puts a space before every text, one that starts with a space included;
        # fast tokenizers leave those alone.
        return f" {text}" if text and self.dialect.apart and self._former.bare_prefix else text

    def _tokens(self, stretches: Sequence[_Stretch]) -> list[Any]:
        texts = [stretch.anchor + stretch.text for stretch in stretches]
        # Special tokens that a text spells out must not become control tokens.
        self.backend.encode_special_tokens = True
        try:
            return list(self.backend.encode_batch_fast(texts, add_special_tokens=False))
        finally:
            self.backend.encode_special_tokens = False

    def _encoded(self, stretch: _Stretch, tokens: list[int]) -> Encoded:
        form, message = stretch.form, stretch.message
        plain = tokens[len(self._lead_ids(stretch.anchor, "")) :]
        untrained = self._untrained(stretch, plain)
        after = form.after + self._finish if message.last else form.after
        ids = [*form.before, *plain, *form.end, *after]
        learned = len(plain) - untrained + len(form.end)
        trained = [False] * (len(form.before) + untrained)
        trained += [message.weight == 1] * learned
        return Encoded(ids, trained + [False] * len(after))

    def _lead_ids(self, anchor: str, lead: str) -> list[int]:
        """Ids of `anchor` alone, or of `lead` behind it."""
        if not lead and not anchor:
            return []
        key = (anchor, lead)
        if key not in self._leads:
            if len(self._leads) >= LEADS_KEPT:
                self._leads.clear()
            before = len(self._plain_ids(anchor)) if lead and anchor else 0
            self._leads[key] = self._plain_ids(anchor + lead)[before:]
        return self._leads[key]

    def _plain_ids(self, text: str) -> list[int]:
        self.backend.encode_special_tokens = True
        try:
            return list(self.backend.encode(text, add_special_tokens=False).ids)
        finally:
            self.backend.encode_special_tokens = False

    def _untrained(self, stretch: _Stretch, plain: Sequence[int]) -> int:
        """How many of the stretch's tokens belong to its lead."""
        if not stretch.lead:
            return 0
        lead = self._lead_ids(stretch.anchor, stretch.lead)
        if plain[: len(lead)] == lead:
            return len(lead)
        self.notes[STRADDLING] += 1
        self.backend.encode_special_tokens = True
        try:
            encoding = self.backend.encode(stretch.anchor + stretch.text, add_special_tokens=False)
        finally:
            self.backend.encode_special_tokens = False
        border = len(stretch.anchor) + len(stretch.lead)
        anchored = len(encoding.ids) - len(plain)
        return sum(start < border for start, _ in encoding.offsets[anchored:])

    # --- rows ---

    def start(self) -> Encoded:
        """What stands before the first message."""
        return Encoded(list(self._bos), [False] * len(self._bos))

    def written(self, messages: Sequence[Message], *, whole: bool = True) -> list[Message]:
        """The messages as the template writes them; never raises, `notes` counts what changed.

        The system text is defaulted or goes into a user turn, neighbours of one role are joined
        where turns must alternate, and the user is put first there.

        Args:
            messages: A row, or with `whole` false the beginning of one.
            whole: Whether what the template writes behind a whole row comes with the last message.
        """
        return list(write(messages, self.dialect, self.notes, whole=whole))

    def row(self, messages: Sequence[Message]) -> Encoded:
        """A whole row: ids and which of them are learned."""
        return self._joined(self.written(messages))

    def _joined(self, written: Sequence[Message]) -> Encoded:
        whole = self.start()
        for encoded in self.messages(written):
            whole.ids.extend(encoded.ids)
            whole.trained.extend(encoded.trained)
        return whole

    def overhead(self, system: str | None) -> int:
        """Tokens that every row that the user opens pays beside its messages.

        Exact where the dialect has a system role. Where the system text goes into a user turn, the
        first word of that turn's text may fall into other tokens: this allows for FOLD_SLACK of
        them, and `overhead(None)` with `fold` is exact.
        """
        fixed = len(self._bos) + len(self._finish)
        text = self.dialect.default_system if system is None else system
        if self.dialect.system is not System.role:
            probe = Message(role="user", content="a", weight=0)
            folded = self.fold(system, probe) + FOLD_SLACK if system else 0
            return fixed + self._first("user") + folded
        if text is None:
            return fixed + self._first("user")
        return (
            fixed + self._first("system") + self.counts([Message(role="system", content=text)])[0]
        )

    def fold(self, system: str, message: Message) -> int:
        """By how many tokens a user message grows when the system text is folded into it; exact."""
        plain = Written(role=message.role, content=message.content, weight=message.weight)
        alone, folded = self.counts([plain, replace(plain, system=system)])
        return folded - alone

    def _first(self, role: str) -> int:
        """By how many tokens a turn that opens a row differs from a later one."""
        return len(self._opening(role, first=True)) - len(self._opening(role, first=False))

    def _opening(self, role: str, *, first: bool) -> list[int]:
        form = self._forms[role]
        lead = self._spaced(form.leading("", ""))
        anchor = form.first_anchor if first else form.anchor
        return form.before + (self._lead_ids(anchor, lead) if lead else [])

    def prompt(self, messages: Sequence[Message], role: str = "assistant") -> list[int]:
        """Ids of a row that `role` is to continue, its opening included."""
        written = self.written(messages, whole=False)
        return self._joined(written).ids + self._opening(role, first=not written)

    def end_ids(self, role: str = "assistant") -> list[int]:
        """Ids that close a turn of `role`; a single one ends generation."""
        form = self._forms[role]
        return list(form.end) or self._plain_ids(form.tail)

    def text(self, ids: Sequence[int]) -> str:
        """Ids back to text, control tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()
