"""How alike two short texts are, whatever their case, spacing and punctuation."""

from __future__ import annotations

LETTERS = 3


def shingles(text: str) -> frozenset[str]:
    """Every run of three letters or digits; a shorter text is its own only one."""
    plain = "".join(letter for letter in text.casefold() if letter.isalnum()) or text.strip()
    return frozenset(plain[i : i + LETTERS] for i in range(max(1, len(plain) - LETTERS + 1)))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard index of two sets of shingles, 0 to 1."""
    return len(one & other) / len(one | other)
