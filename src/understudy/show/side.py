"""One side of a prepared set, counted: items, rows, words, tokens, lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.console import progress
from understudy.records import rows
from understudy.records.rows import Message, Row

if TYPE_CHECKING:
    from understudy.chat.encoder import Encoder

MEASURED_ROWS = 4000
"""So many rows are tokenised at most, evenly spaced: a second or two for a person who waits."""

MANY_ROWS = 50_000
"""From here on reading takes long enough to show how far it is."""


@dataclass(kw_only=True, slots=True)
class Side:
    """What `train.jsonl` or `valid.jsonl` holds."""

    items: Counter[str] = field(default_factory=Counter)
    """Rows by item."""
    words: list[int] = field(default_factory=list)
    """Of each row, the system message left out."""
    trained_words: int = 0
    examples: list[Row] = field(default_factory=list)
    """The first rows, as many as were asked for."""
    step: int = 1
    """Every so many rows one was tokenised."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each row that was tokenised; empty without an encoder."""
    supervised: int = 0
    """Tokens with a label, of those rows."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.words)

    @property
    def tokens(self) -> int:
        """Of all rows; scaled up where not every row was tokenised."""
        measured = sum(self.lengths)
        return round(measured * self.rows / len(self.lengths)) if self.lengths else 0

    @property
    def share(self) -> float | None:
        """Supervised part of the tokens, else of the words; None where there are none."""
        if self.lengths:
            return self.supervised / sum(self.lengths)
        return self.trained_words / sum(self.words) if sum(self.words) else None


def read(path: Path, limit: int, encoder: Encoder | None = None) -> Side:
    """Count the rows of a file, one after the other.

    Args:
        path: `train.jsonl` or `valid.jsonl`.
        limit: How many rows to keep as examples.
        encoder: Tokenises the rows, or every n-th of very many, as training will.

    Raises:
        OSError: there is no such file.
        ValueError: a line is not a row; the message names file and line.
    """
    side = Side()
    total = _lines(path)
    if encoder is not None:
        side.step = max(-(-total // MEASURED_ROWS), 1)
    for row in _watched(rows.each(path), total):
        if encoder is not None and side.rows % side.step == 0:
            encoded = encoder.row(row.messages)
            side.lengths.append(len(encoded.ids))
            side.supervised += sum(encoded.trained)
        side.items[row.meta.item] += 1
        side.words.append(row.words)
        side.trained_words += sum(_words(m) for m in row.messages if m.weight)
        if len(side.examples) < limit:
            side.examples.append(row)
    return side


def _watched(found: Iterator[Row], total: int) -> Iterator[Row]:
    """The rows, with a bar where there are very many."""
    if total < MANY_ROWS:
        yield from found
        return
    with progress("show", total, "rows") as bar:
        for row in found:
            yield row
            bar.advance()


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _words(message: Message) -> int:
    return 0 if message.role == "system" else len(message.content.split())
