"""Whether a dialect writes what the tokenizer's own chat template writes."""

from __future__ import annotations

from typing import Any

from understudy.chat.encoder import Encoder
from understudy.console import UserError
from understudy.records.rows import Message

SYSTEM = Message(role="system", content="Be brief.", weight=0)
TALK = (
    Message(role="user", content="What is a lighthouse for?"),
    Message(role="assistant", content="For ships."),
    Message(role="user", content="And when it is day?"),
)


def check(encoder: Encoder) -> None:
    """Compare one small talk, with and without a system message, as both of them write it.

    A tokenizer without a template has nothing to compare, and a talk that the template refuses (a
    system message, which the dialect folds) is left out.

    Mistral's templates on the hub differ from Mistral's own encoder in spaces: there the text
    counts, without its spaces.

    Raises:
        UserError: they differ; training with one template and speaking with another is refused.
    """
    if not encoder.tokenizer.chat_template:
        return
    for talk in (TALK, (SYSTEM, *TALK)):
        theirs = _rendered(encoder.tokenizer, talk)
        if theirs is None:
            continue
        ours = encoder.prompt(talk)
        if ours != theirs and not (encoder.dialect.apart and _same(encoder, ours, theirs)):
            raise UserError(
                f"model.dialect={encoder.dialect.name} writes\n  {_text(encoder, ours)!r}\nand the "
                f"tokenizer's own chat template writes\n  {_text(encoder, theirs)!r}\nSet "
                "model.dialect to the one that the model was made for, or to null to have it "
                "recognised."
            )


def _rendered(tokenizer: Any, talk: tuple[Message, ...]) -> list[int] | None:  # noqa: ANN401  # transformers has no types
    from jinja2 import TemplateError

    messages = [{"role": one.role, "content": one.content} for one in talk]
    try:
        encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
    except TemplateError:
        return None
    return list(encoded["input_ids"])


def _same(encoder: Encoder, ours: list[int], theirs: list[int]) -> bool:
    return "".join(_text(encoder, ours).split()) == "".join(_text(encoder, theirs).split())


def _text(encoder: Encoder, ids: list[int]) -> str:
    return str(encoder.tokenizer.decode(ids, skip_special_tokens=False))
