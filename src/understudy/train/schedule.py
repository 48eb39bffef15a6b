"""The learning rate over the steps."""

from __future__ import annotations

import math

from understudy.config.schedule import ScheduleShape


def factor(step: int, *, steps: int, warmup: int, shape: ScheduleShape) -> float:
    """Share of the peak learning rate at a step.

    Linear from 0 (excluded) to 1 over `warmup` steps; then constant, a straight line down to 0, or
    half a cosine down to 0 (Loshchilov & Hutter 2017, arXiv:1608.03983), reached one step after the
    last.

    Args:
        step: Counted from 1.
        steps: All steps of the run.
        warmup: Steps of warm-up.
        shape: What comes after the warm-up.
    """
    if step <= warmup:
        return step / warmup
    done = (step - 1 - warmup) / max(1, steps - warmup)
    if shape is ScheduleShape.constant:
        return 1.0
    if shape is ScheduleShape.linear:
        return 1.0 - done
    return 0.5 * (1.0 + math.cos(math.pi * done))
