"""A histogram: how often which size occurs, as bars of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1, 2, 5)
"""Widths of a bin are these times a power of ten, so that its edges are round numbers."""
EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts over bins of equal width that start at 0; the last one holds the largest value."""

    width: int
    """Of a bin: bin n counts the values from n * width up to, not with, (n + 1) * width."""
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Sequence[int], most_bins: int = 12) -> Histogram:
        """Count whole numbers of 0 or more into at most `most_bins` bins; none of them, no bins."""
        if not values:
            return cls(1, ())
        largest = max(values)
        width = _round_width(largest, most_bins)
        counts = [0] * (largest // width + 1)
        for value in values:
            counts[value // width] += 1
        return cls(width, tuple(counts))

    def lines(self, *, blocks: bool, bar_width: int = 40) -> list[str]:
        """One line a bin: its range, a bar, its count.

        Args:
            blocks: Draw with block characters; else with ASCII.
            bar_width: Characters of the longest bar.
        """
        highest = max(self.counts, default=0)
        last = f"{len(self.counts) * self.width - 1:,}"
        lines = []
        for number, count in enumerate(self.counts):
            low, high = number * self.width, (number + 1) * self.width - 1
            bar = _bar(count / highest * bar_width, blocks=blocks)
            span = f"{low:>{len(last)},} - {high:>{len(last)},}"
            lines.append(f"{span} |{bar:<{bar_width}}| {count:,}")
        return lines


def _round_width(largest: int, most_bins: int) -> int:
    power = 1
    while True:
        for step in STEPS:
            if largest // (step * power) < most_bins:
                return step * power
        power *= 10


def _bar(length: float, *, blocks: bool) -> str:
    """A bar as long as `length` characters; what is not nothing is seen."""
    if not blocks:
        return "#" * math.ceil(length)
    eighths = math.ceil(length * 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def quantile(values: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of all (above 0 up to 1) do not exceed.

    Args:
        values: At least one.
        share: 0.5 for the median.
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
