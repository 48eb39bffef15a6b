from __future__ import annotations

import base64
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from understudy.compare import curves
from understudy.compare.curves import Measure
from understudy.records import jsonl


@pytest.fixture
def lines(unchanged_show: Any) -> list[dict[str, float]]:
    return jsonl.read_whole(unchanged_show.run / "metrics.jsonl")


def test_the_curves_hold_what_was_measured(lines: list[dict[str, float]]) -> None:
    loss = curves.curves(lines, Measure.loss)
    assert loss.full_valid.steps == (0, 16, 32, 48)
    assert loss.full_valid.values == (2.61, 2.21, 2.02, 2.06)
    assert loss.base == 2.61
    assert loss.best == (32, 2.02)
    assert loss.epochs == ((1, 16), (2, 32), (3, 48))
    assert len(loss.train.steps) == 48
    assert len(loss.valid.steps) == 12


def test_the_best_step_is_chosen_by_loss_in_both_pictures(lines: list[dict[str, float]]) -> None:
    assert curves.curves(lines, Measure.accuracy).best == (32, 0.551)


def test_the_alt_text_states_the_figures(lines: list[dict[str, float]]) -> None:
    text = curves.describe(curves.curves(lines, Measure.loss))
    assert "over 48 steps" in text
    assert "base model is at 2.61" in text
    assert "to 2.02 at its best step, 32, and ends at 2.06" in text


def test_a_picture_is_the_same_each_time_and_well_formed(lines: list[dict[str, float]]) -> None:
    first, again = (curves.picture(curves.curves(lines, Measure.loss)) for _ in range(2))
    assert first == again
    assert set(first.sources) == {"light_wide", "light_narrow", "dark_wide", "dark_narrow"}
    assert len(set(first.sources.values())) == 4
    for address in first.sources.values():
        head, _, body = address.partition(",")
        assert head == "data:image/svg+xml;base64"
        svg = base64.b64decode(body)
        ET.fromstring(svg)  # noqa: S314  # our own drawing
        assert b"best 2.02" in svg


def test_a_long_run_is_drawn_as_means_and_says_so() -> None:
    lines = [{"step": n, "train_loss": 1.0 if n % 2 else 3.0} for n in range(1, 5001)]
    found = curves.curves(lines, Measure.loss)
    assert len(found.train.steps) <= curves.MOST_POINTS
    assert found.train.mean_of == 21
    assert all(1.9 < value < 2.1 for value in found.train.values)
    assert "mean of 21" in curves.picture(found).caption


def test_many_epochs_get_few_marks() -> None:
    lines = [{"step": n, "epoch": n, "train_loss": 1.0} for n in range(1, 101)]
    marks = curves.curves(lines, Measure.loss).epochs
    assert len(marks) <= curves.MOST_EPOCH_MARKS
    assert marks[0] == (9, 9)


def test_nothing_measured_is_empty() -> None:
    assert curves.curves([], Measure.loss).empty
    assert curves.curves([{"step": 3, "learning_rate": 1e-4}], Measure.loss).empty
