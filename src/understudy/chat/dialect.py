"""Dialects: how a model's template writes messages, and which of its tokens end a turn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum

from understudy.console import UserError

EOS = "{eos}"
"""In a dialect: the tokenizer's own end token."""
BOS = "{bos}"
"""In a dialect: the tokenizer's own start token, nothing where it has none."""


class Trim(Enum):
    """White space at the ends of a text that the template itself leaves out."""

    none = "none"
    both = "both"
    spaces_behind = "spaces_behind"


class System(Enum):
    """Where a system message goes."""

    role = "role"
    """A turn of its own."""
    first_user = "first_user"
    """Before the text of the first user turn."""
    last_user = "last_user"
    """Before the text of the last user turn of whatever is written: row or prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What the template writes around one role's text."""

    opening: str
    """Before the text; never trained."""
    joint: str = ""
    """A space between opening and text that becomes part of the text's first token."""
    closing: str
    """The end of the turn; trained with the text, so that the model learns to stop."""
    after: str = ""
    """Behind the end; never trained."""
    anchor: str = ""
    """Template text of the turn before that stands in the same stretch of plain text, so that the
    opening is tokenised as its continuation (but for the first turn of a row)."""
    trim: Trim = Trim.none


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """A chat template as data. Equal to the reference token for token (tested)."""

    name: str
    turns: Mapping[str, Turn]
    """By role. A role that is missing is folded into the user's text by rule."""
    controls: tuple[str, ...]
    """What in the turns is a control token, not text."""
    bos: str = ""
    """Control token at the very start of a row."""
    finish: str = ""
    """Control token behind a whole row; never trained, not part of a prompt."""
    system: System = System.role
    default_system: str | None = None
    """System message that the template writes where none is given."""
    system_frame: tuple[str, str] = ("", "\n\n")
    """What is written around a system text that is folded into a user turn."""
    alternates: bool = False
    """User and assistant take turns, the user first: neighbours of one role are joined."""
    markers: Mapping[str, str] = field(default_factory=dict)
    """Plain text of the template that a message could imitate (a regular expression), and what is
    written instead."""
    apart: bool = False
    """Every text is tokenised as a string of its own (the reference is mistral-common's encoder);
    else the whole row is one string, cut only at its control tokens (the reference is
    `apply_chat_template`)."""

    @property
    def hash(self) -> str:
        """Identity of the template: a prepared set and an adapter are bound to it."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()


INST_MARKERS = {r"\[(/?INST)\]": r"[ \1]"}
SYS_MARKERS = {r"<<(/?SYS)>>": r"<< \1>>"}


def _chatml(role: str) -> Turn:
    return Turn(opening=f"<|im_start|>{role}\n", closing="<|im_end|>", after="\n")


def _chatml_family(name: str, default_system: str | None, tool: Turn) -> Dialect:
    turns = {role: _chatml(role) for role in ("system", "user", "assistant")}
    return Dialect(
        name=name,
        turns={**turns, "tool": tool},
        controls=("<|im_start|>", "<|im_end|>"),
        default_system=default_system,
    )


def _llama3(role: str) -> Turn:
    opening = f"<|start_header_id|>{role}<|end_header_id|>\n\n"
    return Turn(opening=opening, closing="<|eot_id|>", trim=Trim.both)


def _gemma(role: str) -> Turn:
    opening = f"<start_of_turn>{role}\n"
    return Turn(opening=opening, closing="<end_of_turn>", after="\n", trim=Trim.both)


def _zephyr(role: str) -> Turn:
    return Turn(opening=f"<|{role}|>\n", closing="</s>", after="\n", anchor="\n")


def _phi(role: str) -> Turn:
    return Turn(opening=f"<|{role}|>\n", closing="<|end|>", after="\n")


def _base(name: str) -> Turn:
    return Turn(opening=f"{name}:\n", closing=EOS, after="\n", anchor="\n")


THREE_ROLES = ("system", "user", "assistant")

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        # A plain base model: names on lines of their own, every turn ended by the end token.
        Dialect(
            name="base",
            turns={role: _base(role.capitalize()) for role in THREE_ROLES},
            controls=(BOS, EOS),
            bos=BOS,
            markers={r"(?m)^(System|User|Assistant):$": r"\1 :"},
        ),
        _chatml_family("chatml", None, _chatml("tool")),
        Dialect(
            name="gemma",
            turns={"user": _gemma("user"), "assistant": _gemma("model")},
            controls=("<bos>", "<start_of_turn>", "<end_of_turn>"),
            bos="<bos>",
            system=System.first_user,
            alternates=True,
        ),
        # The template writes a start token before every user turn.
        Dialect(
            name="llama2",
            turns={
                "user": Turn(opening="<s>[INST]", joint=" ", closing=" [/INST]", trim=Trim.both),
                "assistant": Turn(
                    opening="", joint=" ", closing=" </s>", anchor="[/INST]", trim=Trim.both
                ),
            },
            controls=("<s>", "</s>"),
            system=System.first_user,
            system_frame=("<<SYS>>\n", "\n<</SYS>>\n\n"),
            alternates=True,
            markers={**INST_MARKERS, **SYS_MARKERS},
        ),
        Dialect(
            name="llama3",
            turns={role: _llama3(role) for role in (*THREE_ROLES, "tool")},
            controls=(
                "<|begin_of_text|>",
                "<|start_header_id|>",
                "<|end_header_id|>",
                "<|eot_id|>",
            ),
            bos="<|begin_of_text|>",
        ),
        # Mistral-7B-Instruct v0.1 and v0.2: the reference encoder is mistral-common's V1.
        Dialect(
            name="mistral_v1",
            turns={
                "user": Turn(opening="[INST]", joint=" ", closing=" [/INST]"),
                "assistant": Turn(opening="", closing="</s>"),
            },
            controls=("<s>", "</s>"),
            bos="<s>",
            system=System.first_user,
            alternates=True,
            markers=INST_MARKERS,
            apart=True,
        ),
        # Mistral-7B-Instruct v0.3: the reference encoder is mistral-common's V3.
        Dialect(
            name="mistral_v3",
            turns={
                "user": Turn(opening="[INST]", closing="[/INST]"),
                "assistant": Turn(opening="", closing="</s>", trim=Trim.spaces_behind),
            },
            controls=("<s>", "</s>", "[INST]", "[/INST]"),
            bos="<s>",
            system=System.last_user,
            alternates=True,
            apart=True,
        ),
        Dialect(
            name="phi",
            turns={role: _phi(role) for role in THREE_ROLES},
            controls=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
            finish="<|endoftext|>",
        ),
        _chatml_family(
            "qwen",
            "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
            Turn(
                opening="<|im_start|>user\n<tool_response>\n",
                closing="\n</tool_response><|im_end|>",
                after="\n",
            ),
        ),
        _chatml_family(
            "smollm2",
            "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
            _chatml("tool"),
        ),
        Dialect(
            name="zephyr",
            turns={role: _zephyr(role) for role in THREE_ROLES},
            controls=("</s>",),
            markers={r"<\|(system|user|assistant)\|>": r"< |\1|>"},
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


TELLTALES: tuple[tuple[str, str], ...] = (
    (r"<<SYS>>", "llama2"),
    (r"<\|start_header_id\|>", "llama3"),
    (r"<start_of_turn>", "gemma"),
    (r"<\|im_start\|>[\s\S]*named SmolLM", "smollm2"),
    (r"<\|im_start\|>[\s\S]*created by Alibaba Cloud", "qwen"),
    (r"<\|im_start\|>", "chatml"),
    (r"<\|end\|>", "phi"),
    (r"<\|user\|>", "zephyr"),
)


def recognise(template: str | None, controls: frozenset[str]) -> Dialect:
    """The dialect that a tokenizer's chat template seems to be; whether it is, a comparison tells.

    Args:
        template: The tokenizer's Jinja template.
        controls: Its control tokens: Mistral's generations differ only there.

    Raises:
        UserError: none fits; the message lists the dialects.
    """
    for telltale, name in TELLTALES:
        if template and re.search(telltale, template):
            return DIALECTS[name]
    if template and "[INST]" in template:
        return DIALECTS["mistral_v3" if "[INST]" in controls else "mistral_v1"]
    why = "is of no known kind" if template else "is missing (a plain base model: base)"
    raise UserError(
        f"model.dialect=null, and the chat template of the tokenizer {why}: set model.dialect to "
        f"one of {', '.join(sorted(DIALECTS))}."
    )
