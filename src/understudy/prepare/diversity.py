"""How varied the training rows are: said before training, for a model learns what there is most."""

from __future__ import annotations

import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.prepare.duplicates import Found, digest
from understudy.prepare.spool import Kind

LABEL_CHARACTERS = 300
"""Answers up to this length are taken for lists of labels (tags, a word or two)."""
LABEL_SPLIT = re.compile(r"[,;\n\[\]{}\"]+|'(?=\W|$)|(?<!\w)'|\btags'?:")
DISTINCT = 50_000
"""Different labels that are counted; in larger sets the later ones are passed over."""
SHOWN = 20
FEW_ROWS = 50
MUCH = 0.8
"""One category or creator above this share of the rows is most of what is learned."""
REPEATED = 0.05
"""Share of training rows that repeat another from which it is worth a warning."""
COMMON = 0.5
"""A label in more than this share of the answers is what a model falls back to."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at of a row."""

    text: str
    """All but the system message, case and spacing evened out."""
    answers: list[str]

    @classmethod
    def of(cls, line: bytes) -> Seen:
        """From a row's line."""
        messages = json.loads(line)["messages"]
        text = " ".join(m["content"] for m in messages if m["role"] != "system")
        answers = [m["content"] for m in messages if m["role"] == "assistant"]
        return cls(" ".join(text.casefold().split()), answers)


@dataclass(slots=True)
class Variety:
    """Counts over the training rows, one row at a time."""

    rows: int = 0
    repeated: int = 0
    """Rows that are the same as an earlier one."""
    labelled: int = 0
    """Rows with one answer, a short one."""
    labels: Counter[str] = field(default_factory=Counter)
    """In how many of those rows each label is."""
    _digests: set[bytes] = field(default_factory=set)

    def add(self, seen: Seen) -> None:
        """Look at a row."""
        self.rows += 1
        key = digest(seen.text)
        self.repeated += key in self._digests
        self._digests.add(key)
        if len(seen.answers) == 1 and len(seen.answers[0]) <= LABEL_CHARACTERS:
            self.labelled += 1
            pieces = {piece.strip() for piece in LABEL_SPLIT.split(seen.answers[0])} - {""}
            room = len(self.labels) < DISTINCT
            self.labels.update(piece for piece in pieces if room or piece in self.labels)


def entropy(counts: Mapping[str, int]) -> float:
    """Shannon entropy in bits: 0 where all is one, log2(n) where n are equally common."""
    total = sum(counts.values())
    return 0.0 - sum(n / total * math.log2(n / total) for n in counts.values() if n)


def spread(counts: Mapping[str, int]) -> dict[str, Any]:
    """How many there are, how evenly, and the shares of the most common."""
    total = sum(counts.values())
    common = Counter(counts).most_common(SHOWN)
    return {
        "distinct": len(counts),
        "entropy_bits": round(entropy(counts), 3),
        "shares": {name: round(n / total, 4) for name, n in common},
    }


def lengths(tokens: Sequence[int]) -> dict[str, int]:
    """Smallest, quartiles, 95th percentile and largest of the rows' tokens."""
    ranked = sorted(tokens)
    if not ranked:
        return {}
    places = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
    return {name: ranked[round(place * (len(ranked) - 1))] for name, place in places.items()}


def report(
    variety: Variety,
    kinds: Mapping[str, Mapping[Kind, int]],
    tokens: Mapping[str, array[int]],
    found: Found,
    *,
    removed: bool,
) -> dict[str, Any]:
    """`diversity.json`.

    Args:
        variety: Of the training rows.
        kinds: Rows by side and kind.
        tokens: Tokens of each row, by side.
        found: Training rows that held-out rows repeat.
        removed: Whether those were left out.
    """
    made: dict[str, Any] = {
        "rows": {side: len(tokens[side]) for side in tokens},
        "tokens": {side: lengths(tokens[side]) for side in tokens},
        "duplicates": {
            "within_train": variety.repeated,
            "across_split": {
                "exact": len(found.exact),
                "near": len(found.near),
                "removed": removed,
            },
        },
    }
    for field_name, plural in (
        ("corpus", "corpora"),
        ("category", "categories"),
        ("creator", "creators"),
    ):
        made[plural] = {side: spread(_by(kinds[side], field_name)) for side in kinds}
    if variety.rows and variety.labelled * 2 > variety.rows:
        made["labels"] = {"rows": variety.labelled, **spread(variety.labels)}
    made["warnings"] = warnings(made, variety)
    return made


def _by(kinds: Mapping[Kind, int], name: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for kind, rows in kinds.items():
        counts[getattr(kind, name) or "not given"] += rows
    return counts


def warnings(made: Mapping[str, Any], variety: Variety) -> list[str]:
    """Where a model trained on these rows would collapse, in words."""
    said = []
    rows = made["rows"]["train"]
    if rows < FEW_ROWS:
        said.append(f"only {rows} rows to train on: they are soon learned by heart")
    if variety.repeated > REPEATED * variety.rows:
        share = variety.repeated / variety.rows
        said.append(f"{share:.0%} of the training rows repeat another word for word")
    across = made["duplicates"]["across_split"]
    if (across["exact"] or across["near"]) and not across["removed"]:
        said.append(
            f"{across['exact']} training rows repeat a held-out row and {across['near']} nearly "
            "do, so held-out loss flatters: take them out with split.duplicates=remove"
        )
    for plural, one in (("categories", "category"), ("creators", "creator")):
        shares = made[plural]["train"]["shares"]
        name, share = next(iter(shares.items()), ("", 0.0))
        if len(shares) > 1 and share > MUCH and name != "not given":
            said.append(
                f"{share:.0%} of the training rows are of the {one} {name}: even them out with "
                f"split.balance={one}"
            )
    if "labels" in made and variety.labels:
        label, count = variety.labels.most_common(1)[0]
        if count > COMMON * variety.labelled:
            share = count / variety.labelled
            said.append(
                f"{share:.0%} of the answers hold {label!r}: a model may give it to any question"
            )
    return said
