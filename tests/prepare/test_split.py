"""The split: by item, from a seed, stable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.split import SplitConfig
from understudy.console import UserError
from understudy.prepare.split import held_out

NAMES = [f"episode-{number:02}" for number in range(20)]


def by_count(count: int, seed: int = 42) -> SplitConfig:
    return SplitConfig(valid_share=None, valid_items=count, seed=seed)


def test_by_count_and_by_share() -> None:
    assert len(held_out(NAMES, by_count(4))) == 4
    assert len(held_out(NAMES, SplitConfig(valid_share=0.1))) == 2
    assert len(held_out(NAMES[:5], SplitConfig(valid_share=0.05))) == 1
    assert held_out(NAMES, SplitConfig(valid_share=0)) == set()
    assert held_out(NAMES[:1], SplitConfig(valid_share=0.05)) == set()


@given(st.permutations(NAMES))
def test_the_order_of_the_items_does_not_matter(names: list[str]) -> None:
    assert held_out(names, by_count(4)) == held_out(NAMES, by_count(4))


def test_the_seed_does() -> None:
    assert held_out(NAMES, by_count(4, seed=1)) != held_out(NAMES, by_count(4, seed=2))


def test_a_new_item_moves_at_most_one_other() -> None:
    before = held_out(NAMES, by_count(4))
    after = held_out([*NAMES, "episode-99"], by_count(4))
    assert len(before - after) <= 1


def test_nothing_left_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match=r"split.valid_items=20.*20 usable items"):
        held_out(NAMES, by_count(20))
