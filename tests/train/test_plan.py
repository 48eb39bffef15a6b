"""The batch plan and the schedule."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.optim import OptimConfig
from understudy.config.schedule import ScheduleConfig, ScheduleShape
from understudy.console import UserError
from understudy.train.plan import agree, plan, warmup_steps, write_down
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


@given(
    supervised=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    wanted=st.integers(1, 200),
    epochs=st.integers(1, 3),
    seed=st.integers(0),
)
def test_by_tokens_each_step_has_enough_but_no_row_too_many(
    supervised: list[int], wanted: int, epochs: int, seed: int
) -> None:
    optim = OptimConfig(rows_per_step=None, tokens_per_step=wanted)
    steps = plan(supervised, optim, epochs, seed)
    for epoch in range(1, epochs + 1):
        mine = [step for step in steps if step.epoch == epoch]
        seen = Counter(row for step in mine for row in step.rows)
        assert seen == Counter(range(len(supervised)))
        for step in mine:
            counts = [supervised[row] for row in step.rows]
            # The last row alone brings it over, so that steps are of like size.
            assert sum(counts[:-1]) < wanted
            assert sum(counts) >= wanted or step.ends_epoch
    assert [step.ends_epoch for step in steps].count(True) == epochs
    assert steps[-1].epochs_done == epochs


@given(rows=st.integers(1, 30), size=st.integers(1, 9), seed=st.integers(0))
def test_rows_of_one_token_make_the_same_steps_by_tokens_as_by_rows(
    rows: int, size: int, seed: int
) -> None:
    by_rows = plan([1] * rows, OptimConfig(rows_per_step=size), 2, seed)
    by_tokens = OptimConfig(rows_per_step=None, tokens_per_step=size)
    assert plan([1] * rows, by_tokens, 2, seed) == by_rows


def test_a_plan_written_down_agrees_with_itself_alone(tmp_path: Path) -> None:
    steps = plan([1] * 6, OptimConfig(rows_per_step=4), 2, seed=42)
    write_down(tmp_path, steps)
    lines = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()]
    assert lines[0] == {"step": 1, "epoch": 1, "rows": list(steps[0].rows)}
    assert len(lines) == len(steps) == 4
    agree(tmp_path, steps)
    for other in (
        plan([1] * 6, OptimConfig(rows_per_step=4), 2, seed=43),
        plan([1] * 6, OptimConfig(rows_per_step=3), 2, seed=42),
        plan([1] * 7, OptimConfig(rows_per_step=4), 2, seed=42),
        steps[:-1],
    ):
        with pytest.raises(UserError, match=r"plan.jsonl is not the plan .* fresh=true"):
            agree(tmp_path, other)


@pytest.mark.parametrize("harm", ["swap", "cut", "tear", "gone"])
def test_a_plan_that_somebody_changed_is_refused(tmp_path: Path, harm: str) -> None:
    steps = plan([1] * 6, OptimConfig(rows_per_step=4), 2, seed=42)
    write_down(tmp_path, steps)
    path = tmp_path / "plan.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    changed = {
        "swap": [lines[0].replace("0, 5", "5, 0"), *lines[1:]],
        "cut": lines[:-1],
        "tear": [*lines[:-1], lines[-1][:9]],
    }
    if harm == "gone":
        path.unlink()
    else:
        assert changed[harm] != lines
        path.write_text("".join(changed[harm]))
    with pytest.raises(UserError, match="would see other rows"):
        agree(tmp_path, steps)


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
