"""A dialect's turn made ready for one tokenizer: ids of what is fixed, text of what is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from understudy.chat.dialect import BOS, EOS, Dialect, Trim, Turn
from understudy.console import UserError

SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)
SPACES += "\u2028\u2029\u202f\u205f\u3000"
"""White space by Unicode's property, which tokenizers go by; `str.strip` takes more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One role's turn: `before`, then one stretch of plain text, then `end` and `after`.

    The stretch is `lead`, `joint`, the text and `tail`, tokenised in one piece, as the tokens at
    their borders depend on both sides.
    """

    before: list[int]
    """Ids up to the last control token of the opening."""
    lead: str
    joint: str
    tail: str
    end: list[int]
    """Ids of the control tokens that close the turn."""
    after: list[int]
    anchor: str
    """Text that the stretch is tokenised behind (and that is taken off again)."""
    first_anchor: str
    """The same for the turn that opens a row."""
    trim: Trim
    eats_before: bool = False
    """The control token before the stretch swallows white space."""
    eats_behind: bool = False

    def stretch(self, text: str) -> str:
        """The plain text between the control tokens."""
        whole = f"{self.lead}{self.joint}{_trimmed(text, self.trim)}{self.tail}"
        whole = whole.lstrip(SPACES) if self.eats_before else whole
        return whole.rstrip(SPACES) if self.eats_behind else whole

    def leading(self, system: str, text: str) -> str:
        """The part of the stretch that is never trained.

        Args:
            system: What is folded in before the text.
            text: The text: where it is empty, what is before it is trimmed like an end.
        """
        if self.trim is Trim.both:
            system = system.lstrip()[: len((system + text).strip())]
        whole = f"{self.lead}{self.joint}{system}" if system else self.lead
        return whole.lstrip(SPACES) if self.eats_before else whole


def _trimmed(text: str, trim: Trim) -> str:
    if trim is Trim.both:
        return text.strip()
    return text.rstrip(" ") if trim is Trim.spaces_behind else text


class Former:
    """Makes the forms of a dialect for one tokenizer."""

    def __init__(self, tokenizer: Any, dialect: Dialect) -> None:  # noqa: ANN401  # transformers has no types
        self.tokenizer = tokenizer
        self.dialect = dialect
        self.backend = tokenizer.backend_tokenizer
        self.added = {str(token): token for token in tokenizer.added_tokens_decoder.values()}
        self.controls = [self.resolved(control) for control in dialect.controls]
        self.controls = [control for control in self.controls if control]
        missing = [control for control in self.controls if len(self.ids(control)) != 1]
        if missing:
            raise UserError(
                f"the tokenizer has no token {', '.join(missing)}, which the dialect "
                f"{dialect.name} writes: set model.dialect to the one that the model was made "
                "for, or to null to have it recognised."
            )
        self.pattern = re.compile("|".join(map(re.escape, self.controls)))
        self.after_control = self._anchor_after_control()
        self.bare_prefix = self.ids(" a") == self.ids("a")
        """The tokenizer puts a space before a text, but only where there is none."""

    def resolved(self, text: str) -> str:
        """The dialect's text with the tokenizer's own start and end token in place.

        Raises:
            UserError: the dialect needs an end token and the tokenizer has none.
        """
        if EOS in text and not self.tokenizer.eos_token:
            raise UserError(
                f"the tokenizer has no end token, which the dialect {self.dialect.name} needs: "
                "choose another model."
            )
        return text.replace(BOS, self.tokenizer.bos_token or "").replace(
            EOS, self.tokenizer.eos_token or ""
        )

    def ids(self, text: str) -> list[int]:
        """Ids of template text: control tokens are read as such."""
        return list(self.backend.encode(text, add_special_tokens=False).ids) if text else []

    def _anchor_after_control(self) -> str:
        # Some tokenizers put their space before the first text of a string only.
        control = self.controls[0]
        alone = self.ids("x")
        return "" if self.ids(f"{control}x")[1:] == alone else "\n"

    def form(self, turn: Turn) -> Form:
        """One role's turn for this tokenizer."""
        opening, closing = self.resolved(turn.opening), self.resolved(turn.closing)
        starts = [match.end() for match in self.pattern.finditer(opening)]
        border = starts[-1] if starts else 0
        ends = self.pattern.search(closing)
        until = ends.start() if ends else len(closing)
        end = self.ids(closing[until:])
        after = self.ids(closing[until:] + turn.after)[len(end) :]
        row_start = self.after_control if self.resolved(self.dialect.bos) else ""
        inner = "" if self.dialect.apart else (self.after_control if border else turn.anchor)
        return Form(
            before=self.ids(opening[:border]),
            lead=opening[border:],
            joint=turn.joint,
            tail=closing[:until],
            end=end,
            after=after,
            anchor=inner,
            first_anchor=inner if border or self.dialect.apart else row_start,
            trim=turn.trim,
            eats_before=self._eats(opening[:border], "rstrip"),
            eats_behind=self._eats(closing[until:], "lstrip"),
        )

    def loose(self) -> dict[str, str]:
        """Control tokens that the tokenizer would read out of any text, as markers.

        They are in its vocabulary without being marked as special.
        """
        controls = {*self.controls, *self.tokenizer.all_special_tokens}
        found = [text for text, token in self.added.items() if not token.special]
        return {re.escape(text): f"{text[0]} {text[1:]}" for text in found if text in controls}

    def _eats(self, text: str, side: str) -> bool:
        found: Sequence[str] = self.pattern.findall(text)
        if not found:
            return False
        token = self.added.get(found[-1] if side == "rstrip" else found[0])
        return bool(getattr(token, side, False))
