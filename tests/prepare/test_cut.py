"""Cutting at turn boundaries: the fewest rows, nothing lost, nothing too long."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from understudy.prepare.count import Counted
from understudy.prepare.cut import Carry, Cut, Exchange, Rows, exchanges
from understudy.records.conversation import Spoken
from understudy.records.rows import Message


def message(role: str, tokens: int, number: int = 0) -> Counted:
    spoken = Spoken(message=Message(role=role, content=f"{role} {number}"))
    return Counted(spoken, tokens, tokens, 2)


def exchange(tokens: int, number: int = 0) -> Exchange:
    return Exchange((message("user", tokens, number),), tokens)


def cut(sizes: list[int], room: int, carry: Carry | None = None) -> list[Cut]:
    rows = Rows(room, carry or Carry())
    for number, size in enumerate(sizes):
        rows.add(exchange(size, number))
    rows.close()
    return rows.rows


sizes_that_fit = st.lists(st.integers(1, 10), max_size=10)


@given(sizes_that_fit, st.integers(10, 25))
def test_rows_hold_every_exchange_in_order_and_fit(sizes: list[int], room: int) -> None:
    rows = cut(sizes, room)
    assert all(row.tokens <= room for row in rows)
    assert [m.tokens for row in rows for m in row.messages] == sizes


@given(sizes_that_fit, st.integers(10, 25))
def test_no_other_cut_makes_fewer_rows(sizes: list[int], room: int) -> None:
    @cache
    def fewest(start: int) -> int:
        if start == len(sizes):
            return 0
        ends = range(start + 1, len(sizes) + 1)
        return min(1 + fewest(end) for end in ends if sum(sizes[start:end]) <= room)

    assert len(cut(sizes, room)) == fewest(0)


@given(sizes_that_fit, st.integers(10, 25), st.integers(0, 3), st.integers(0, 12))
def test_what_is_carried_is_the_end_of_the_row_before_at_weight_0(
    sizes: list[int], room: int, turns: int, tokens: int
) -> None:
    rows = cut(sizes, room, Carry(turns, tokens))
    assert all(row.tokens <= room for row in rows)
    own = [m for row in rows for m in row.messages[row.carried :]]
    assert [m.tokens for m in own] == sizes
    for before, row in pairwise(rows):
        carried = row.messages[: row.carried]
        said = [m.spoken.message.content for m in before.messages[before.carried :]]
        assert [m.spoken.message.content for m in carried] == said[len(said) - len(carried) :]
        assert all(m.spoken.message.weight == m.trained == m.words == 0 for m in carried)
        size = sum(m.tokens for m in carried)
        assert len(carried) <= turns or size <= tokens


def test_carried_turns_are_carried_where_there_is_room() -> None:
    rows = cut([4, 4, 4, 4], 10, Carry(turns=1))
    assert [row.carried for row in rows] == [0, 1, 1]


def test_an_exchange_is_what_follows_a_user_until_the_next() -> None:
    roles = ["user", "user", "assistant", "tool", "assistant", "user"]
    groups = exchanges([message(role, 1) for role in roles])
    assert [[m.role for m in group.messages] for group in groups] == [roles[:5], roles[5:]]
