"""How long training lasts and how the learning rate moves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from understudy.config.limits import exclusive, within


class ScheduleShape(Enum):
    """Course of the learning rate after warm-up."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """Linear warm-up to `optim.lr`, then the shape, down to zero (constant stays)."""

    shape: ScheduleShape = ScheduleShape.cosine
    epochs: int = 3
    """Passes over the training rows."""
    warmup_steps: int | None = None
    warmup_share: float | None = None
    """Warm-up as a share of all steps; set this or `warmup_steps`, neither for none."""

    def __post_init__(self) -> None:
        within("schedule.epochs", self.epochs, 1, 1000)
        within("schedule.warmup_steps", self.warmup_steps, 0, 1_000_000, unit="steps")
        within("schedule.warmup_share", self.warmup_share, 0, 0.9)
        exclusive(
            schedule__warmup_steps=self.warmup_steps, schedule__warmup_share=self.warmup_share
        )
