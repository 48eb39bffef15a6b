"""From the spool to a prepared set: split, duplicates, weights, then the files."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from understudy.config import Config
from understudy.config.split import Balance, Duplicates
from understudy.prepare import weigh
from understudy.prepare.diversity import Seen, Variety, report
from understudy.prepare.duplicates import Found, Index
from understudy.prepare.split import held_out
from understudy.prepare.spool import Kind, Spool
from understudy.records.ledger import Ledger

REMOVED = "the same as a held-out row, or nearly"
WEIGHED_OUT = "left out to keep the weights of corpora, categories or creators"
REPEATED = "rows repeated to keep the weights"


class Assembly:
    """What each row of the spool is in the end."""

    def __init__(self, config: Config, spool: Spool, ledger: Ledger) -> None:
        self.config = config
        self.spool = spool
        self.ledger = ledger
        self.draws = array("H", [1]) * len(spool)
        """How often each row is in the set."""

    def split(self, sides: Mapping[str, str]) -> None:
        """Give each item its side, by draw unless the source says so.

        Args:
            sides: `train` or `valid` for the items whose source says so, by name.

        Raises:
            UserError: nothing would be left to train on.
        """
        entries = self.ledger.items
        drawn: set[str] = set()
        if "valid" not in sides.values():
            drawn = held_out([name for name in entries if name not in sides], self.config.split)
        for name, entry in entries.items():
            entry.split = sides.get(name, "valid" if name in drawn else "train")

    def rows(self, side: str) -> Iterator[int]:
        """The side's rows, in order, each as often as it is drawn: whole passes over the set."""
        items = self.spool.items
        valid = [self.ledger.items[name].split == side for name in items]
        mine = array("L", (n for n, item in enumerate(self.spool.item) if valid[item]))
        for number in range(max((self.draws[n] for n in mine), default=0)):
            yield from (n for n in mine if self.draws[n] > number)

    def compare(self) -> tuple[Found, Variety]:
        """Look at every row once: what repeats what, and how varied the training rows are."""
        index, variety = Index(), Variety()
        for line in self.spool.lines(self.rows("valid")):
            index.add(Seen.of(line).text)
        train = array("L", self.rows("train"))
        for number, line in zip(train, self.spool.lines(train), strict=True):
            seen = Seen.of(line)
            index.look(number, seen.text)
            variety.add(seen)
        if self.config.split.duplicates is Duplicates.remove:
            for number in index.found.rows:
                self._leave_out(number, REMOVED)
        return index.found, variety

    def weigh(self) -> None:
        """Draw training rows so that corpora, categories and creators get their shares."""
        balance = self.config.split.balance
        if balance is Balance.none and len(self.config.weights) <= 1:
            return
        groups: dict[str, dict[str | None, list[int]]] = {}
        for number in self.rows("train"):
            kind = self.spool.kinds[self.spool.kind[number]]
            name = None if balance is Balance.none else getattr(kind, balance.value)
            groups.setdefault(kind.corpus, {}).setdefault(name, []).append(number)
        sizes = {corpus: sum(map(len, inner.values())) for corpus, inner in groups.items()}
        targets: dict[str, float] = {corpus: float(size) for corpus, size in sizes.items()}
        if len(self.config.weights) > 1:
            targets = weigh.mixed(sizes, self.config.weights)
        for corpus, inner in groups.items():
            shares = weigh.even(
                {name: len(found) for name, found in inner.items()}, targets[corpus]
            )
            for name, found in inner.items():
                self._draw(found, weigh.copies(found, shares[name], self.config.split.seed))

    def _draw(self, numbers: list[int], draws: array[int]) -> None:
        for number, times in zip(numbers, draws, strict=True):
            if times == 0:
                self._leave_out(number, WEIGHED_OUT)
            self.draws[number] = times
            if times > 1:
                item = self.spool.items[self.spool.item[number]]
                self.ledger.items[item].notes[REPEATED] += times - 1

    def _leave_out(self, number: int, reason: str) -> None:
        spool = self.spool
        self.draws[number] = 0
        entry = self.ledger.items[spool.items[spool.item[number]]]
        entry.words_trained -= spool.words_trained[number]
        entry.words_context -= spool.words_context[number]
        words = spool.words_trained[number] + spool.words_context[number]
        entry.drop(reason, words, asked=True)

    def write(self, folder: Path) -> dict[str, array[int]]:
        """Write `train.jsonl` and `valid.jsonl`, and count their tokens in the ledger.

        Returns:
            Tokens of each row, by side.
        """
        tokens = {}
        for side in ("train", "valid"):
            rows = array("L", self.rows(side))
            self.spool.copy(rows, folder / f"{side}.jsonl")
            tokens[side] = array("L", (self.spool.tokens[number] for number in rows))
            trained = sum(self.spool.trained[number] for number in rows)
            self.ledger.tokens_trained += trained
            self.ledger.tokens_context += sum(tokens[side]) - trained
        return tokens

    def diversity(
        self, found: Found, variety: Variety, tokens: Mapping[str, array[int]]
    ) -> dict[str, Any]:
        """`diversity.json`."""
        kinds: dict[str, Counter[Kind]] = {
            side: Counter(self.spool.kinds[self.spool.kind[n]] for n in self.rows(side))
            for side in tokens
        }
        removed = self.config.split.duplicates is Duplicates.remove
        return report(variety, kinds, tokens, found, removed=removed)
