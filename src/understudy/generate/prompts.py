"""Prompts from the held-out items: talks broken off where the assistant is to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.chat.encoder import Encoder
from understudy.console import UserError, warn
from understudy.records.rows import Message, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A talk to continue, and what was really said next."""

    name: str
    messages: tuple[Message, ...]
    reference: str
    ids: tuple[int, ...]
    """Token ids, the opening of the assistant's turn included."""


def choose(rows: Sequence[Row], encoder: Encoder, *, count: int, room: int) -> list[Prompt]:
    """Prompts spread evenly over the held-out rows, in their order.

    The first row of an item is broken off after its opening, a later one after its second
    user message, so that there is something to go on.

    Args:
        rows: Held-out rows.
        encoder: Counts tokens.
        count: Prompts wanted; fewer rows give fewer prompts, and a warning.
        room: Longest prompt in tokens; longer ones are passed over, and counted.

    Raises:
        UserError: no row makes a prompt.
    """
    found = [prompt for prompt in _all(rows, encoder) if prompt is not None]
    fitting = [prompt for prompt in found if len(prompt.ids) <= room]
    if len(fitting) < len(found):
        warn(f"{len(found) - len(fitting)} prompts longer than {room} tokens are passed over")
    if not fitting:
        raise UserError(
            "no held-out row makes a prompt: hold out more items (split.valid_items), or lower "
            "decoding.max_new_tokens."
        )
    if len(fitting) < count:
        warn(f"decoding.prompts={count}, but the held-out rows make only {len(fitting)}")
        return fitting
    return [fitting[place * len(fitting) // count] for place in range(count)]


def _all(rows: Sequence[Row], encoder: Encoder) -> list[Prompt | None]:
    seen: dict[str, int] = {}
    prompts = []
    for row in rows:
        number = seen[row.meta.item] = seen.get(row.meta.item, 0) + 1
        prompts.append(_prompt(row, number, encoder))
    return prompts


def _prompt(row: Row, number: int, encoder: Encoder) -> Prompt | None:
    answers = [i for i, message in enumerate(row.messages) if message.role == "assistant"]
    if not answers:
        return None
    answer = answers[0] if number == 1 else answers[min(1, len(answers) - 1)]
    messages = row.messages[:answer]
    return Prompt(
        name=f"{row.meta.item}/{number}",
        messages=messages,
        reference=row.messages[answer].content,
        ids=tuple(encoder.prompt(messages)),
    )
