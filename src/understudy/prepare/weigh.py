"""How often each training row is seen: corpora by weight, categories or creators evened out."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from typing import TypeVar

MOST = 4
"""Times a row is seen at most: a handful of rows seen more often is learned by heart."""
T = TypeVar("T")


def mixed(sizes: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, float]:
    """Rows to draw from each corpus: as many as there are, shared out by weight.

    Args:
        sizes: Rows there are, by corpus.
        weights: By corpus; 1 for one that is not named.
    """
    given = {name: weights.get(name, 1.0) for name in sizes}
    whole, total = sum(sizes.values()), sum(given.values())
    return {name: whole * weight / total for name, weight in given.items()}


def even(sizes: Mapping[T, int], rows: float) -> dict[T, float]:
    """`rows` rows in equal shares."""
    return {name: rows / len(sizes) for name in sizes}


def copies(rows: Sequence[int], target: float, seed: int) -> array[int]:
    """How often each of some rows is drawn, so that about `target` are drawn in all.

    Every row is drawn as often as any other, or once more; which ones, a hash of seed and row
    number says.

    Args:
        rows: Row numbers.
        target: Rows wanted; more than `MOST` times as many as there are cannot be had.
        seed: Of the draw.

    Returns:
        Draws, in the order of `rows`.
    """
    wanted = min(round(target), MOST * len(rows))
    every, more = divmod(wanted, len(rows)) if rows else (0, 0)
    drawn = array("H", [every]) * len(rows)
    for place in sorted(range(len(rows)), key=lambda at: _rank(rows[at], seed))[:more]:
        drawn[place] += 1
    return drawn


def _rank(row: int, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=8).digest()
