"""Rows on their way: on disk in the order they are made, a few numbers each in memory.

Split, weights and duplicates are only known once every row is made. So rows go to one file first,
and are then copied to their side, whole lines at a time.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from understudy.records import rows as records
from understudy.records.rows import Row

COPY_BYTES = 1 << 22
NAME = "rows.part"


@dataclass(frozen=True, slots=True)
class Kind:
    """What rows are weighed by."""

    corpus: str
    category: str | None
    creator: str | None


@dataclass(frozen=True, slots=True)
class Size:
    """What the ledger counts of one row."""

    tokens: int
    """With the template's."""
    trained: int
    """Tokens learned."""
    words_trained: int
    words_context: int


class Spool:
    """A file of rows; 44 bytes of memory for each."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.items: list[str] = []
        """Names of the items, by number."""
        self.kinds: list[Kind] = []
        self.item = array("L")
        """[rows], number of the item."""
        self.kind = array("L")
        self.tokens, self.trained = array("L"), array("L")
        self.words_trained, self.words_context = array("L"), array("L")
        self._ends = array("Q", [0])
        self._numbers: dict[Kind, int] = {}
        self._file = self.path.open("w+b")

    def __len__(self) -> int:
        return len(self.item)

    def begin(self, item: str) -> None:
        """Rows added from here on belong to this item."""
        self.items.append(item)

    def add(self, row: Row, kind: Kind, size: Size) -> None:
        """Put a row of the item last begun at the end."""
        if kind not in self._numbers:
            self._numbers[kind] = len(self.kinds)
            self.kinds.append(kind)
        raw = records.line(row).encode()
        self._file.write(raw)
        self._ends.append(self._ends[-1] + len(raw))
        self.item.append(len(self.items) - 1)
        self.kind.append(self._numbers[kind])
        self.tokens.append(size.tokens)
        self.trained.append(size.trained)
        self.words_trained.append(size.words_trained)
        self.words_context.append(size.words_context)

    def lines(self, numbers: Iterable[int]) -> Iterator[bytes]:
        """The lines of some rows."""
        for number in numbers:
            self._file.seek(self._ends[number])
            yield self._file.read(self._ends[number + 1] - self._ends[number])

    def copy(self, numbers: Iterable[int], path: Path) -> None:
        """Write some rows to a file of their own, under its name only once it is whole."""
        part = path.with_name(f"{path.name}.part")
        with part.open("wb") as file:
            for first, last in _stretches(numbers):
                self._file.seek(self._ends[first])
                left = self._ends[last + 1] - self._ends[first]
                while left:
                    piece = self._file.read(min(left, COPY_BYTES))
                    file.write(piece)
                    left -= len(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _stretches(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    first = last = -1
    for number in numbers:
        if first >= 0 and number == last + 1:
            last = number
            continue
        if first >= 0:
            yield first, last
        first = last = number
    if first >= 0:
        yield first, last
