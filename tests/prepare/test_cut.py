"""Cutting at turn boundaries: the fewest rows, nothing lost, nothing too long."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from understudy.prepare.cut import Exchange, cut


def exchange(tokens: int) -> Exchange:
    return Exchange(spoken=(), tokens=tokens, trained=tokens)


@given(st.lists(st.integers(1, 30), max_size=14), st.integers(1, 25))
def test_rows_hold_every_exchange_in_order_and_fit(sizes: list[int], room: int) -> None:
    rows, too_long = cut([exchange(size) for size in sizes], room)
    assert all(sum(piece.tokens for piece in row) <= room for row in rows)
    assert [p.tokens for row in rows for p in row] == [size for size in sizes if size <= room]
    assert [p.tokens for p in too_long] == [size for size in sizes if size > room]


@given(st.lists(st.integers(1, 10), max_size=10), st.integers(10, 25))
def test_no_other_cut_makes_fewer_rows(sizes: list[int], room: int) -> None:
    @cache
    def fewest(start: int) -> int:
        if start == len(sizes):
            return 0
        ends = range(start + 1, len(sizes) + 1)
        return min(1 + fewest(end) for end in ends if sum(sizes[start:end]) <= room)

    rows, _ = cut([exchange(size) for size in sizes], room)
    assert len(rows) == fewest(0)


def test_an_exchange_that_is_left_out_does_not_join_what_stood_around_it() -> None:
    rows, too_long = cut([exchange(2), exchange(99), exchange(2)], 10)
    assert [len(row) for row in rows] == [1, 1]
    assert len(too_long) == 1
