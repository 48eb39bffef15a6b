"""The batch plan and the schedule."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.optim import OptimConfig
from understudy.config.schedule import ScheduleConfig, ScheduleShape
from understudy.train.plan import plan, warmup_steps
from understudy.train.schedule import factor


@given(
    rows=st.integers(1, 60), size=st.integers(1, 9), epochs=st.integers(1, 4), seed=st.integers(0)
)
def test_every_row_once_in_each_epoch(rows: int, size: int, epochs: int, seed: int) -> None:
    optim = OptimConfig(rows_per_step=size)
    steps = plan([1] * rows, optim, epochs, seed)
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    for epoch in range(1, epochs + 1):
        seen = Counter(row for step in steps if step.epoch == epoch for row in step.rows)
        assert seen == Counter(range(rows))
    assert sum(step.ends_epoch for step in steps) == epochs
    assert steps == plan([1] * rows, optim, epochs, seed)


def test_the_order_is_the_same_on_every_machine() -> None:
    orders = [step.rows for step in plan([1] * 6, OptimConfig(rows_per_step=3), 2, seed=42)]
    assert orders == [(0, 5, 1), (3, 2, 4), (5, 2, 0), (3, 1, 4)]
    assert plan([1] * 6, OptimConfig(rows_per_step=3), 2, seed=42) != plan(
        [1] * 6, OptimConfig(rows_per_step=3), 2, seed=43
    )


@pytest.mark.parametrize("shape", ScheduleShape)
def test_warm_up_rises_to_the_peak_and_the_rest_never_rises(shape: ScheduleShape) -> None:
    rates = [factor(step, steps=20, warmup=4, shape=shape) for step in range(1, 21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert all(later <= earlier for earlier, later in pairwise(rates[4:]))
    assert (rates[-1] == 1.0) == (shape is ScheduleShape.constant)
    assert rates[-1] > 0


def test_warm_up_by_share() -> None:
    assert warmup_steps(ScheduleConfig(warmup_share=0.03), 100) == 3
    assert warmup_steps(ScheduleConfig(warmup_steps=10), 100) == 10
    assert warmup_steps(ScheduleConfig(), 100) == 0
