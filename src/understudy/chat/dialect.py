"""Dialects: how a model's template writes messages, and which of its tokens end a turn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What the template writes around one role's text. Each part is tokenised by itself."""

    opening: str
    """Before the text; never trained."""
    closing: str
    """The end of the turn; trained with the text, so that the model learns to stop."""
    after: str = ""
    """Behind the end; never trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """A chat template as data. Equal to the tokenizer's own template token for token (tested)."""

    name: str
    turns: Mapping[str, Turn]
    """By role. A role that is missing cannot be written."""
    bos: str | None = None
    """Special token at the very start of a row."""
    default_system: str | None = None
    """System message that the template writes where none is given."""
    fold_system: bool = False
    """The system text is put before the first user's text, as the template has no system role."""

    @property
    def hash(self) -> str:
        """Identity of the template: a prepared set and an adapter are bound to it."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()


def _chatml(role: str) -> Turn:
    return Turn(opening=f"<|im_start|>{role}\n", closing="<|im_end|>", after="\n")


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        # SmolLM2-Instruct's template writes a system message of its own where none is given.
        Dialect(
            name="chatml",
            turns={role: _chatml(role) for role in ("system", "user", "assistant")},
            default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
        ),
        # Mistral-7B-Instruct v0.1 and v0.2: the reference encoder is mistral-common's V1.
        Dialect(
            name="mistral_v1",
            turns={
                "user": Turn(opening="[INST]", closing="[/INST]"),
                "assistant": Turn(opening="", closing="</s>"),
            },
            bos="<s>",
            fold_system=True,
        ),
    )
}


def find(name: str | None) -> Dialect:
    """The dialect of that name.

    Raises:
        ValueError: there is none, or no name was given.
    """
    if name is None or name not in DIALECTS:
        raise ValueError(
            f"model.dialect={name} is not built yet: choose one of {', '.join(sorted(DIALECTS))}."
        )
    return DIALECTS[name]
