"""The ledger of a prepared set: words in = trained + context + dropped by reason, per item."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy import artifacts


@dataclass(kw_only=True, slots=True)
class Entry:
    """What became of one item's words."""

    words_in: int = 0
    words_trained: int = 0
    words_context: int = 0
    words_dropped: Counter[str] = field(default_factory=Counter)
    """By reason, asked for or not."""
    unasked: Counter[str] = field(default_factory=Counter)
    """Those of the dropped words that no policy, filter or window asked to leave out."""
    notes: Counter[str] = field(default_factory=Counter)
    """What else was done, counted by what."""

    @property
    def asked(self) -> Counter[str]:
        """Words dropped because the config asks for it, by reason."""
        return self.words_dropped - self.unasked

    def drop(self, reason: str, words: int, *, asked: bool = False) -> None:
        """Count words as dropped; none are not worth a line."""
        if words:
            self.words_dropped[reason] += words
            if not asked:
                self.unasked[reason] += words

    def check(self, item: str) -> None:
        """Fail if a word is unaccounted for: a mistake of ours, never of the data."""
        placed = self.words_trained + self.words_context + self.words_dropped.total()
        assert placed == self.words_in, f"{item}: {self.words_in} words in, {placed} accounted for"
        assert self.unasked <= self.words_dropped, f"{item}: more unasked than dropped"

    def record(self) -> dict[str, Any]:
        """As `ledger.json` has it."""
        return {
            "words_in": self.words_in,
            "words_trained": self.words_trained,
            "words_context": self.words_context,
            "words_dropped": self.words_dropped,
            "asked": self.asked,
            "unasked": self.unasked,
            "notes": self.notes,
        }


@dataclass(kw_only=True, slots=True)
class ItemEntry(Entry):
    """An item's entry, and which side of the split it went to."""

    split: str = ""
    """`train` or `valid`."""

    def record(self) -> dict[str, Any]:
        """As `ledger.json` has it; what is empty or follows from the rest is left out."""
        full = Entry.record(self)
        kept = {name: full[name] for name in full if full[name] or name.startswith("words_")}
        kept.pop("asked", None)
        return {**kept, "split": self.split}


@dataclass(kw_only=True, slots=True)
class Ledger:
    """All items of a prepared set."""

    items: dict[str, ItemEntry] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    """What was done that belongs to no single item."""
    tokens_trained: int = 0
    tokens_context: int = 0
    """Template tokens and messages at weight 0."""

    def total(self) -> Entry:
        """The sum over all items."""
        total = Entry(notes=Counter(self.notes))
        for entry in self.items.values():
            total.words_in += entry.words_in
            total.words_trained += entry.words_trained
            total.words_context += entry.words_context
            total.words_dropped += entry.words_dropped
            total.unasked += entry.unasked
            total.notes += entry.notes
        return total

    def write(self, path: Path) -> None:
        """Check that it adds up, then write `ledger.json`."""
        for name, entry in self.items.items():
            entry.check(name)
        artifacts.write_atomic(path, "".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        """The totals one key a line, then one item a line."""
        tokens = {"trained": self.tokens_trained, "context": self.tokens_context}
        for name, value in {**self.total().record(), "tokens": tokens}.items():
            yield ("{\n" if name == "words_in" else "") + f' "{name}": {_json(value)},\n'
        yield ' "items": {'
        for number, (name, entry) in enumerate(self.items.items()):
            yield f"{',' if number else ''}\n  {_json(name)}: {_json(entry.record())}"
        yield "\n }\n}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
