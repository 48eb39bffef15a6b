"""What became of every word of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """Words with one fate."""

    name: str
    words: int
    share: float
    """Of all words in, 0 to 1."""
    offset: float
    """Shares of the fates before this one: where its piece of a bar begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Words in, and where they went."""

    words_in: int
    fates: tuple[Fate, ...]
    """Trained, context, then one for each reason for dropping."""
    missing: int
    """Words in that no fate accounts for: 0 where the ledger is right."""
    learned: int
    """Words trained in the items for training: what the model learned from."""
    items: int
    splits: Mapping[str, int]
    """Words in by split: `train`, `valid`."""


def account(ledger: Mapping[str, Any]) -> Account:
    """The account of a `ledger.json`.

    Raises:
        ValueError: it is not a ledger.
    """
    try:
        dropped = {str(reason): int(n) for reason, n in ledger["words_dropped"].items()}
        words_in = int(ledger["words_in"])
        counts = {
            "trained": int(ledger["words_trained"]),
            "context": int(ledger["words_context"]),
            **{f"dropped: {reason}": words for reason, words in dropped.items()},
        }
        items = ledger["items"]
        splits: dict[str, int] = {}
        learned = 0
        for item in items.values():
            learned += int(item["words_trained"]) if item["split"] == "train" else 0
            splits[item["split"]] = splits.get(item["split"], 0) + int(item["words_in"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a ledger: {error!r}") from None
    return Account(
        words_in=words_in,
        fates=_fates(counts, words_in),
        missing=words_in - sum(counts.values()),
        learned=learned,
        items=len(items),
        splits=splits,
    )


def _fates(counts: Mapping[str, int], words_in: int) -> tuple[Fate, ...]:
    fates = []
    offset = 0.0
    for name, words in counts.items():
        share = words / words_in if words_in else 0.0
        fates.append(Fate(name=name, words=words, share=share, offset=offset))
        offset += share
    return tuple(fates)
