"""The ledger of a prepared set: words in = trained + context + dropped by reason, per item."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from understudy import artifacts


@dataclass(kw_only=True, slots=True)
class Entry:
    """What became of one item's words."""

    words_in: int = 0
    words_trained: int = 0
    words_context: int = 0
    words_dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""

    def drop(self, reason: str, words: int) -> None:
        """Count words as dropped; none are not worth a line."""
        if words:
            self.words_dropped[reason] += words

    def check(self, item: str) -> None:
        """Fail if a word is unaccounted for: a mistake of ours, never of the data."""
        placed = self.words_trained + self.words_context + self.words_dropped.total()
        assert placed == self.words_in, f"{item}: {self.words_in} words in, {placed} accounted for"


@dataclass(kw_only=True, slots=True)
class ItemEntry(Entry):
    """An item's entry, and which side of the split it went to."""

    split: str = ""
    """`train` or `valid`."""


@dataclass(kw_only=True, slots=True)
class Ledger:
    """All items of a prepared set."""

    items: dict[str, ItemEntry] = field(default_factory=dict)
    tokens_trained: int = 0
    tokens_context: int = 0
    """Template tokens and messages at weight 0."""

    def total(self) -> Entry:
        """The sum over all items."""
        total = Entry()
        for entry in self.items.values():
            total.words_in += entry.words_in
            total.words_trained += entry.words_trained
            total.words_context += entry.words_context
            total.words_dropped += entry.words_dropped
        return total

    def write(self, path: Path) -> None:
        """Check that it adds up, then write `ledger.json`."""
        for name, entry in self.items.items():
            entry.check(name)
        record = {
            **artifacts.record(self.total()),
            "tokens": {"trained": self.tokens_trained, "context": self.tokens_context},
            "items": self.items,
        }
        artifacts.write_json(path, record)
