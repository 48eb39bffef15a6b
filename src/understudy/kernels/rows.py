"""Where each row lies in a batch. Legend: r rows, padding included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """A row's place: tokens `start` to `end` of a line."""

    line: int
    start: int
    end: int

    @property
    def length(self) -> int:
        """Tokens."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a batch, known on the host: no kernel has to ask the device where they are."""

    spans: tuple[Span, ...]
    """Line by line, without the padding."""
    bounds_r: Tensor
    """Where each row begins in all lines end to end, and where the last one ends, int32 [r + 1];
    the padding of a line counts as a row."""
    longest: int
    """Tokens of the longest row."""
