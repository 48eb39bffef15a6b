"""Histogram and estimate: plain arithmetic, checked against counts made another way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.console import UserError
from understudy.show.card import CARDS, Plan, find
from understudy.show.histogram import Histogram, quantile

sizes = st.lists(st.integers(0, 200_000), min_size=1, max_size=200)


@given(values=sizes, most=st.integers(1, 20))
def test_every_value_is_in_its_bin(values: list[int], most: int) -> None:
    found = Histogram.of(values, most)
    assert len(found.counts) <= most
    assert str(found.width).rstrip("0") in ("1", "2", "5")
    for number, count in enumerate(found.counts):
        low = number * found.width
        assert count == sum(low <= value < low + found.width for value in values)
    assert found.counts[-1] > 0


@given(values=sizes)
def test_bars_are_as_long_as_counts(values: list[int]) -> None:
    found = Histogram.of(values)
    for line, count in zip(found.lines(blocks=False), found.counts, strict=True):
        assert line.isascii()
        bar = line.count("#")
        assert abs(bar - 40 * count / max(found.counts)) < 1
        assert (bar > 0) == (count > 0)
    edges = {line.rindex("|") for line in found.lines(blocks=True)}
    assert len(edges) == 1, "the bars' ends do not stand in one column"


@given(values=sizes, share=st.floats(0.01, 1))
def test_quantile(values: list[int], share: float) -> None:
    found = quantile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_no_values_no_bins() -> None:
    assert Histogram.of([]).lines(blocks=True) == []


def test_the_forerunners_sixteen_hours() -> None:
    plan = Plan(card=find("P6000"), epochs=5)
    assert plan.hours(323 * 4096, 7) == pytest.approx(16, rel=0.01)


def test_an_estimate_grows_with_tokens_epochs_and_parameters() -> None:
    once = Plan(card=CARDS["a100"], epochs=1)
    twice = Plan(card=CARDS["a100"], epochs=2)
    assert once.hours(2300 * 3600, 7) == pytest.approx(1)
    assert twice.hours(2300 * 3600, 7) == pytest.approx(2)
    assert once.hours(2300 * 3600, 14) == pytest.approx(2)
    assert once.hours(0, 7) == 0


def test_cards_are_found_however_they_are_spelled() -> None:
    assert find("RTX-4090") is find("rtx 4090") is CARDS["rtx4090"]
    with pytest.raises(UserError, match=r"choose one of a100, l4, p6000, rtx4090, t4\."):
        find("h200")


def test_what_was_not_measured_says_so() -> None:
    for name, card in CARDS.items():
        assert ("not measured" in card.source) == (name in ("l4", "t4"))


def test_the_tool_estimates(tool: Any, prepared: Path) -> None:
    done = tool("show", prepared, "--card", "rtx4090")
    assert done.returncode == 2
    assert "does not say whose tokens" in done.stderr
    size = ("--billions", "8")
    done = tool("show", prepared, "--card", "rtx4090", *size, "--epochs", "5000", "--price", "0.5")
    # The ledger has 1,290 tokens in 12 words, 9 of which are in training rows.
    tokens = round(1290 * 9 / 12)
    hours = tokens * 5000 / 2413 / 3600
    assert f"({tokens:,} tokens x 5000 epochs at 2,413 tokens/s for 8B parameters)" in done.stdout
    assert re.search(r"about ([\d.]+ \w+) \(", done.stdout)[1] == f"{hours * 60:.0f} min"
    assert f"price about {hours * 0.5:,.2f} at 0.5 an hour" in done.stdout
    assert "an estimate, not a measurement" in done.stdout
    assert "a guess" not in done.stdout
    small = tool("show", prepared, "--card", "t4", "--billions", "0.135").stdout
    assert "a guess" in small
    assert "not measured" in small
    assert "give --price" in small
    for wrong, why in ((("--card", "h200"), "choose one of"), (("--price", "1"), "needs --card")):
        done = tool("show", prepared, *wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
