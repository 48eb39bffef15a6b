"""How long texts are, and whether the model ended them by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable

ENDED = "stop"
"""The finish reason of a model that ended its turn."""


def count(text: str) -> int:
    """Whitespace-separated words: the unit of the ledger."""
    return len(text.split())


def mean_words(texts: Collection[str]) -> float | None:
    """Mean number of whitespace-separated words; None without texts."""
    return sum(map(count, texts)) / len(texts) if texts else None


def ended_share(finish_reasons: Iterable[str]) -> float | None:
    """Share of texts that the model ended by itself, 0 to 1; None without texts."""
    reasons = list(finish_reasons)
    return reasons.count(ENDED) / len(reasons) if reasons else None
