"""Which items are held out for validation."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.config.limits import exclusive, within


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """Split by item, never by row: rows of one episode are too alike."""

    valid_share: float | None = 0.05
    """Share of items held out (rounded, at least one as soon as there are two items)."""
    valid_items: int | None = None
    """Or the exact number of items held out."""
    seed: int = 42
    """Seed of the draw; the same items are held out on every machine."""

    def __post_init__(self) -> None:
        exclusive(split__valid_share=self.valid_share, split__valid_items=self.valid_items)
        within("split.valid_share", self.valid_share, 0, 0.9)
        within("split.valid_items", self.valid_items, 0, 1_000_000)
