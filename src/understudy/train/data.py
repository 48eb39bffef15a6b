"""The prepared set as token ids and labels, refused if it was made for another template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from understudy.chat.encoder import IGNORED, Encoder
from understudy.console import UserError
from understudy.records import rows as records


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


def load(folder: Path, encoder: Encoder, context: int) -> Dataset:
    """Read and tokenise a prepared set.

    Raises:
        UserError: the set is damaged, has nothing to learn, or has rows longer than the context.
    """
    train, valid = (_side(folder / f"{side}.jsonl", encoder) for side in ("train", "valid"))
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
    return Dataset(train, valid)


def _side(path: Path, encoder: Encoder) -> list[Example]:
    try:
        rows = records.read(path)
    except (OSError, ValueError) as error:
        raise UserError(f"the prepared set is damaged: {error}") from None
    return [_example(row, encoder) for row in rows]


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
