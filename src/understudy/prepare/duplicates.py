"""Training rows that a held-out row repeats: word for word, or nearly."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SHINGLE = 3
"""Words in a shingle."""
ANCHOR_LETTERS = 8
"""In long texts a shingle starts at each word of at least so many letters: about one in ten, the
same ones wherever the passage stands."""
SHORT = 200
"""Words: in texts up to this length a shingle starts at every word."""
LIKENESS = 0.8
"""Jaccard similarity of two rows' shingles from which they are near duplicates."""
PERMUTATIONS = 128
LARGEST_SKETCH = 200_000
"""Shingles of held-out rows kept to tell which training rows are worth comparing."""


def digest(text: str) -> bytes:
    """Eight bytes that tell two texts apart. Case and spacing are evened out before."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def shingles(text: str) -> set[int]:
    """Hashes of the passages that stand for a text (Broder 1997, on anchored shingles)."""
    words = text.split(" ")
    starts: Iterable[int] = range(max(1, len(words) - SHINGLE + 1))
    if len(words) > SHORT:
        lengths = map(len, words)
        anchored = [i for i, length in enumerate(lengths) if length >= ANCHOR_LETTERS]
        starts = anchored if len(anchored) * 50 > len(words) else starts
    return {zlib.crc32(" ".join(words[i : i + SHINGLE]).encode()) for i in starts}


class Sketch:
    """A bounded sample of shingles: every shingle whose hash a power of two divides."""

    def __init__(self) -> None:
        self.kept: set[int] = set()
        self.modulus = 1

    def add(self, found: set[int]) -> None:
        """Take in a row's shingles; the sample gets coarser when there are too many."""
        self.kept |= self.sample(found)
        while len(self.kept) > LARGEST_SKETCH:
            self.modulus *= 2
            self.kept = self.sample(self.kept)

    def sample(self, found: set[int]) -> set[int]:
        """Those of the shingles that the sample would hold."""
        return found if self.modulus == 1 else {s for s in found if s % self.modulus == 0}

    def share(self, found: set[int]) -> float:
        """About how many of a row's shingles held-out rows have, 0 to 1."""
        sampled = self.sample(found)
        return len(sampled & self.kept) / len(sampled) if sampled else 0.0


@dataclass(slots=True)
class Found:
    """Training rows that held-out rows repeat, by number."""

    exact: list[int] = field(default_factory=list)
    near: list[int] = field(default_factory=list)

    @property
    def rows(self) -> set[int]:
        """All of them."""
        return {*self.exact, *self.near}


class Index:
    """Held-out rows, to look training rows up in."""

    def __init__(self) -> None:
        from datasketch import MinHashLSH

        self.exact: set[bytes] = set()
        self.sketch = Sketch()
        self.found = Found()
        self._rows: dict[str, set[int]] = {}
        self._lsh: Any = MinHashLSH(threshold=LIKENESS, num_perm=PERMUTATIONS)

    def add(self, text: str) -> None:
        """Take in a held-out row."""
        key = digest(text)
        if key in self.exact:
            return
        self.exact.add(key)
        found = shingles(text)
        self.sketch.add(found)
        self._lsh.insert(key.hex(), signature(found))
        self._rows[key.hex()] = found

    def look(self, number: int, text: str) -> None:
        """Compare a training row with the held-out ones, and remember it if one repeats it."""
        if not self.exact:
            return
        if digest(text) in self.exact:
            self.found.exact.append(number)
            return
        found = shingles(text)
        # A row that shares less than half of what a near duplicate shares is none; a coarse
        # sample errs, hence the half.
        if self.sketch.share(found) < LIKENESS / 2:
            return
        keys = self._lsh.query(signature(found))
        if any(likeness(found, self._rows[key]) >= LIKENESS for key in keys):
            self.found.near.append(number)


def likeness(one: set[int], other: set[int]) -> float:
    """Jaccard similarity: what both have of what either has."""
    return len(one & other) / len(one | other)


def signature(found: set[int]) -> Any:  # noqa: ANN401  # datasketch has no types
    """The MinHash of a set of shingles."""
    from datasketch import MinHash

    made = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)
    made.update_batch(sorted(found))
    return made
