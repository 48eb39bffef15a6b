"""Which items are held out for validation, and what is evened out in the rest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from understudy.config.limits import exclusive, within


class Duplicates(Enum):
    """What happens to training rows that are the same, or nearly, as a held-out row."""

    report = "report"
    remove = "remove"


class Balance(Enum):
    """What every training row should be seen as often of."""

    none = "none"
    category = "category"
    creator = "creator"


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """Split by item, never by row: rows of one episode are too alike."""

    valid_share: float | None = 0.05
    """Share of items held out (rounded, at least one as soon as there are two items)."""
    valid_items: int | None = None
    """Or the exact number of items held out."""
    seed: int = 42
    """Seed of the draw; the same items are held out on every machine."""
    duplicates: Duplicates = Duplicates.report
    """Training rows that a held-out row repeats: `report` counts them, `remove` leaves them out."""
    balance: Balance = Balance.none
    """Give each category or creator the same share of the training rows, by leaving rows of the
    common ones out and repeating those of the rare ones (four times at most)."""

    def __post_init__(self) -> None:
        exclusive(split__valid_share=self.valid_share, split__valid_items=self.valid_items)
        within("split.valid_share", self.valid_share, 0, 0.9)
        within("split.valid_items", self.valid_items, 0, 1_000_000)
