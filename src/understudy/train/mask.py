"""Whether the labels of every row are what the template says: checked, never assumed."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.chat.encoder import IGNORED, Encoder
from understudy.console import RunFailedError, warn
from understudy.train.data import Example

NAMED = 3
"""Rows that a warning names."""


def check(examples: Sequence[Example], encoder: Encoder) -> None:
    """Refuse labels that are not their tokens, and turns that never teach the model to stop.

    Args:
        examples: The rows that are learned.
        encoder: Knows which tokens end a turn.

    Raises:
        RunFailedError: a label is not the id of its token, the first token has a label, or no
            learned stretch of any row ends with an end token.
    """
    for number, example in enumerate(examples):
        fault = wrong_label(example)
        if fault is not None:
            raise RunFailedError(
                f"row {number} of {example.item}: {fault}. This is a fault in understudy."
            )
    ends = {encoder.end_ids(role)[-1] for role in encoder.dialect.turns}
    endless = [n for n, example in enumerate(examples) if set(last_ids(example)) - ends]
    if not endless:
        return
    if not any(set(last_ids(example)) & ends for example in examples):
        raise RunFailedError(
            f"no learned turn of any row ends with an end token of the dialect "
            f"{encoder.dialect.name}: the model would never learn to stop. Set model.dialect to "
            "the one that the model was made for."
        )
    named = ", ".join(f"{n} of {examples[n].item}" for n in endless[:NAMED])
    warn(
        f"{len(endless):,} of {len(examples):,} rows have a learned turn that does not end with an "
        f"end token (rows {named}{', ...' if len(endless) > NAMED else ''}): there the model does "
        "not learn to stop."
    )


def wrong_label(example: Example) -> str | None:
    """What is wrong with a row's labels; None if nothing is."""
    if len(example.labels) != len(example.ids):
        return f"{len(example.ids)} tokens and {len(example.labels)} labels"
    if example.labels[0] != IGNORED:
        return "its first token is learned, and nothing stands before it"
    for place, (token, label) in enumerate(zip(example.ids, example.labels, strict=True)):
        if label not in (IGNORED, token):
            return f"token {place} is {token} and is learned as {label}"
    return None


def last_ids(example: Example) -> list[int]:
    """The last token of each stretch of learned tokens."""
    following = [*example.labels[1:], IGNORED]
    return [
        label
        for label, after in zip(example.labels, following, strict=True)
        if label != IGNORED and after == IGNORED
    ]
