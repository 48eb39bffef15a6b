"""Messages to token ids and back: the only place that does so, for every stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from understudy.chat.dialect import Dialect
from understudy.records.rows import Message

IGNORED = -100
"""Label of a token that is read but not learned (the index that cross-entropy leaves out)."""


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


class Encoder:
    """A tokenizer that speaks a dialect.

    Each part of a turn (opening, text, closing) is tokenised by itself: counts of messages add up
    exactly, and a special token written out in a text stays text.
    """

    def __init__(self, tokenizer: Any, dialect: Dialect) -> None:  # noqa: ANN401  # transformers has no types
        self.tokenizer = tokenizer
        self.dialect = dialect
        self.backend = tokenizer.backend_tokenizer
        self._template: dict[str, list[int]] = {}

    def _template_ids(self, text: str) -> list[int]:
        if text not in self._template:
            ids = self.tokenizer.encode(text, add_special_tokens=False) if text else []
            self._template[text] = list(ids)
        return self._template[text]

    def _text_ids(self, text: str) -> list[int]:
        # Special tokens that a text spells out must not become control tokens.
        self.backend.encode_special_tokens = True
        try:
            return list(self.backend.encode(text, add_special_tokens=False).ids)
        finally:
            self.backend.encode_special_tokens = False

    def message(self, message: Message) -> Encoded:
        """One message with what the template writes around it.

        The text is learned together with its end token where the weight is 1.

        Raises:
            ValueError: the dialect cannot write this role.
        """
        turn = self.dialect.turns.get(message.role)
        if turn is None:
            raise ValueError(f"the dialect {self.dialect.name} cannot write role {message.role}")
        before = self._template_ids(turn.opening)
        learned = self._text_ids(message.content.strip()) + self._template_ids(turn.closing)
        after = self._template_ids(turn.after)
        trained = [False] * len(before) + [message.weight == 1] * len(learned)
        return Encoded(before + learned + after, trained + [False] * len(after))

    def start(self) -> Encoded:
        """What stands before the first message."""
        ids = self._template_ids(self.dialect.bos or "")
        return Encoded(list(ids), [False] * len(ids))

    def written(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as the template writes them: system text defaulted or folded in."""
        out = list(messages)
        has_system = bool(out) and out[0].role == "system"
        if not has_system and self.dialect.default_system is not None:
            out.insert(0, Message(role="system", content=self.dialect.default_system, weight=0))
        if has_system and self.dialect.fold_system:
            system, user, *rest = out
            assert user.role == "user", "a row starts with the user"
            out = [replace(user, content=f"{system.content}\n\n{user.content}"), *rest]
        return out

    def row(self, messages: Sequence[Message]) -> Encoded:
        """A whole row: ids and which of them are learned."""
        encoded = self.start()
        for message in self.written(messages):
            encoded = encoded + self.message(message)
        return encoded

    def overhead(self, system: str | None) -> int:
        """Tokens that every row pays before its first message."""
        opening = [Message(role="system", content=system, weight=0)] if system else []
        if self.dialect.fold_system:
            return len(self.start().ids) + (len(self._text_ids(system)) + 2 if system else 0)
        return len(self.row(opening).ids)

    def prompt(self, messages: Sequence[Message], role: str = "assistant") -> list[int]:
        """Ids of a row that `role` is to continue, its opening included."""
        return self.row(messages).ids + self._template_ids(self.dialect.turns[role].opening)

    def end_ids(self, role: str = "assistant") -> list[int]:
        """Ids that close a turn of `role`; a single one ends generation."""
        return list(self._template_ids(self.dialect.turns[role].closing))

    def text(self, ids: Sequence[int]) -> str:
        """Ids back to text, control tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()
