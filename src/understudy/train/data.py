"""The prepared set as token ids and labels, refused if it was made for another template."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from understudy.chat.encoder import IGNORED, Encoder
from understudy.console import UserError, say, warn
from understudy.records import rows as records
from understudy.records.rows import Row

PREVIEW_CHARACTERS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One row, tokenised."""

    ids: list[int]
    labels: list[int]
    """The ids where learned, IGNORED elsewhere; not yet shifted."""
    item: str
    speakers: list[str]
    """Speakers of the row, by the numbers in `voices`."""
    voices: list[int]
    """For each token, which of `speakers` says it; -1 where nobody does (template, context)."""

    @property
    def supervised(self) -> int:
        """Tokens that carry a label; the first can have none, since nothing predicts it."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True, slots=True)
class Dataset:
    """Both sides of a prepared set."""

    train: list[Example]
    valid: list[Example]
    rows: list[Row] = field(default_factory=list)
    """The held-out rows as text."""


def load(folder: Path, encoder: Encoder, context: int) -> Dataset:
    """Read and tokenise a prepared set.

    Raises:
        UserError: the set is damaged, has nothing to learn, or has rows longer than the context.
    """
    rows = {side: _read(folder / f"{side}.jsonl") for side in ("train", "valid")}
    train, valid = ([_example(row, encoder) for row in rows[side]] for side in rows)
    longest = max((len(example.ids) for example in train + valid), default=0)
    if longest > context:
        raise UserError(
            f"{folder} has a row of {longest:,} tokens, above model.context={context:,}: prepare "
            "it again for this context."
        )
    if sum(example.supervised for example in train) == 0:
        raise UserError(
            f"{folder} has no supervised token: every message of train.jsonl has weight 0. Give "
            "weight 1 to what is to be learned."
        )
    return Dataset(_learnable(train, "train"), _learnable(valid, "valid"), rows["valid"])


def preview(example: Example, encoder: Encoder) -> None:
    """Show a row as the model will see it, what is learned between « and »."""
    pairs = zip(example.ids, example.labels, strict=True)
    parts = []
    for learned, group in groupby(pairs, key=lambda pair: pair[1] == pair[0]):
        text = encoder.tokenizer.decode([token for token, _ in group])
        parts.append(f"«{text}»" if learned else text)
    shown = "".join(parts).replace("\n", "↵")
    if len(shown) > PREVIEW_CHARACTERS:
        # Both ends: many a row is learned at its end only.
        shown = f"{shown[: PREVIEW_CHARACTERS // 2]} ... {shown[-PREVIEW_CHARACTERS // 2 :]}"
    say(f"train: the first row, what is learned between « and »:\n  {shown}")


def _learnable(examples: list[Example], side: str) -> list[Example]:
    """Without the rows in which every token has weight 0: a step of them would have no loss."""
    found = [example for example in examples if example.supervised]
    if len(found) < len(examples):
        count = len(examples) - len(found)
        warn(f"{count} of {len(examples)} rows of {side}.jsonl have nothing to learn: left out")
    return found


def _read(path: Path) -> list[Row]:
    try:
        return records.read(path)
    except (OSError, ValueError) as error:
        raise UserError(f"the prepared set is damaged: {error}") from None


def _example(row: records.Row, encoder: Encoder) -> Example:
    encoded = encoder.start()
    voices = [-1] * len(encoded.ids)
    speakers = sorted(set(row.meta.speakers.values()))
    for message in encoder.written(row.messages):
        piece = encoder.message(message)
        name = row.meta.speakers.get(message.role)
        number = speakers.index(name) if name else -1
        voices += [number if trained else -1 for trained in piece.trained]
        encoded = encoded + piece
    return Example(
        ids=encoded.ids,
        labels=encoded.labels,
        item=row.meta.item,
        speakers=speakers,
        voices=voices,
    )
