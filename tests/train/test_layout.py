"""Every row has its place in exactly one line, and lines are few."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.chat.encoder import Encoder
from understudy.config.optim import OptimConfig
from understudy.console import UserError
from understudy.train import data
from understudy.train.data import Example
from understudy.train.layout import first_fit_decreasing, lay_out, packing_note, tokens
from understudy.train.memory import MemoryPlan
from understudy.train.plan import plan

CAPACITY = 60
LENGTHS = st.lists(st.integers(1, CAPACITY), min_size=1, max_size=40)


def row(length: int) -> Example:
    return Example(ids=[5] * length, labels=[5] * length, item="a", speakers=[], voices=[])


@cache
def fewest(lengths: tuple[int, ...]) -> int:
    """The fewest lines that hold rows of these lengths, by trying everything."""
    if not lengths:
        return 0
    first, rest = lengths[0], lengths[1:]
    # The first row opens a line; any subset of the others that fits may share it.
    best = len(lengths)
    for chosen in range(1 << len(rest)):
        inside = [length for i, length in enumerate(rest) if chosen >> i & 1]
        if first + sum(inside) <= CAPACITY:
            outside = tuple(length for i, length in enumerate(rest) if not chosen >> i & 1)
            best = min(best, 1 + fewest(outside))
    return best


@given(LENGTHS)
def test_each_row_is_placed_once_and_no_line_is_too_long(lengths: list[int]) -> None:
    rows = [row(length) for length in lengths]
    lines = first_fit_decreasing(rows, CAPACITY)
    assert Counter(id(one) for line in lines for one in line) == Counter(map(id, rows))
    assert all(0 < tokens(line) <= CAPACITY for line in lines)


@given(LENGTHS)
def test_lines_are_more_than_half_full_together(lengths: list[int]) -> None:
    """Two lines that are half empty would have become one."""
    lines = first_fit_decreasing([row(length) for length in lengths], CAPACITY)
    at_least = math.ceil(sum(lengths) / CAPACITY)
    assert at_least <= len(lines) <= max(1, 2 * sum(lengths) / CAPACITY)


@given(st.lists(st.integers(1, CAPACITY), min_size=1, max_size=7))
def test_lines_are_within_the_bound_of_the_fewest(lengths: list[int]) -> None:
    lines = first_fit_decreasing([row(length) for length in lengths], CAPACITY)
    best = fewest(tuple(sorted(lengths, reverse=True)))
    assert math.ceil(sum(lengths) / CAPACITY) <= best
    assert len(lines) <= 11 / 9 * best + 6 / 9


@given(st.lists(st.integers(1, CAPACITY // 6), min_size=1, max_size=60))
def test_short_rows_fill_their_lines(lengths: list[int]) -> None:
    """A line with room for one more would have got it: all but one are five sixths full."""
    lines = first_fit_decreasing([row(length) for length in lengths], CAPACITY)
    at_least = math.ceil(sum(lengths) / CAPACITY)
    assert at_least <= len(lines) < 6 / 5 * sum(lengths) / CAPACITY + 1


PLANS = st.builds(
    MemoryPlan,
    micro_batch=st.integers(1, 5),
    packing=st.booleans(),
    line_tokens=st.none() | st.integers(1, CAPACITY),
)


@given(LENGTHS, PLANS)
def test_a_steps_passes_hold_each_row_once_and_the_same_way_each_time(
    lengths: list[int], memory: MemoryPlan
) -> None:
    rows = [row(length) for length in lengths]
    passes = lay_out(rows, memory, CAPACITY)
    placed = [id(one) for lines in passes for line in lines for one in line]
    assert Counter(placed) == Counter(map(id, rows))
    assert all(1 <= len(lines) <= memory.micro_batch for lines in passes)
    assert memory.packing or all(len(line) == 1 for lines in passes for line in lines)
    most = max(memory.line_tokens or CAPACITY, *lengths)
    assert all(tokens(line) <= most for lines in passes for line in lines)
    again = lay_out(rows, memory, CAPACITY)
    assert placed == [id(one) for lines in again for line in lines for one in line]


def test_the_longest_row_comes_first() -> None:
    """In the order given, these would take a line more."""
    lines = first_fit_decreasing([row(length) for length in (10, 20, 40, 50)], CAPACITY)
    assert [[len(one.ids) for one in line] for line in lines] == [[50, 10], [40, 20]]


def test_a_row_longer_than_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="61 tokens fits no line of 60"):
        first_fit_decreasing([row(3), row(61)], CAPACITY)


def test_no_such_row_comes_through_the_door(prepared_root: Path, encoder: Encoder) -> None:
    """A line is as long as the context, and rows above that are refused where they are read."""
    (folder,) = (prepared_root / "runs" / "prepare").iterdir()
    longest = max(len(one.ids) for one in data.load(folder, encoder, 256).train)
    with pytest.raises(UserError, match=rf"{longest} tokens, above model.context={longest - 1}"):
        data.load(folder, encoder, longest - 1)
    rows = data.load(folder, encoder, longest).train
    assert all(tokens(line) <= longest for line in first_fit_decreasing(rows, longest))


def test_what_packing_comes_to_is_said() -> None:
    rows = [row(length) for length in (30, 30, 20, 40, 60, 10)]
    steps = plan([1] * 6, OptimConfig(rows_per_step=6), 2, seed=1)
    assert packing_note(steps, rows, CAPACITY) == (
        "packing: 6 rows in 4 lines of up to 60 tokens, 79% full"
    )
    steps = plan([1] * 6, OptimConfig(rows_per_step=1), 2, seed=1)
    said = packing_note(steps, rows, CAPACITY)
    assert said.startswith("packing: 6 rows in 6 lines of up to 60 tokens, 53% full: no two rows")
    assert "optim.rows_per_step" in said
