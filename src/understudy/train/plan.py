"""The batch plan: which rows make which step. Seeded, and the same on every machine."""

from __future__ import annotations

import random
from dataclasses import dataclass

from understudy.config.schedule import ScheduleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One optimiser step."""

    number: int
    """Counted from 1."""
    epoch: int
    """Counted from 1."""
    rows: tuple[int, ...]
    """Row numbers in the training set."""
    ends_epoch: bool


def plan(rows: int, rows_per_step: int, epochs: int, seed: int) -> list[Step]:
    """Every row once in each epoch, in a new order each time; the last step may be smaller.

    The order comes from Python's own generator, whose shuffle is the same on every platform.
    """
    steps: list[Step] = []
    for epoch in range(1, epochs + 1):
        order = list(range(rows))
        random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311  # an order, not a secret
        for start in range(0, rows, rows_per_step):
            steps.append(
                Step(
                    number=len(steps) + 1,
                    epoch=epoch,
                    rows=tuple(order[start : start + rows_per_step]),
                    ends_epoch=start + rows_per_step >= rows,
                )
            )
    return steps


def warmup_steps(config: ScheduleConfig, steps: int) -> int:
    """Steps of linear warm-up."""
    if config.warmup_share is not None:
        return round(config.warmup_share * steps)
    return config.warmup_steps or 0
