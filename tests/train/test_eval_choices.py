"""Validation off, and the best checkpoint kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.records import jsonl
from understudy.records.checkpoints import named, whole

Door = Callable[..., Any]


def test_no_validation_at_all(door: Door, arguments: list[str]) -> None:
    arguments = [*arguments, "schedule.epochs=2", "eval=none", "eval.every_steps=null"]
    done = door("train", *arguments)
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip())
    metrics = jsonl.read_whole(run / "metrics.jsonl")
    assert not any("valid" in key for line in metrics for key in line)
    assert not (run / "scores.jsonl").exists()
    assert "held-out batch" not in done.stderr
    assert "no held-out loss at the end" in done.stderr
    assert json.loads((run / "summary.json").read_text())["valid_loss"] is None
    best = door("generate", *arguments, "checkpoints=[best]")
    assert best.returncode == 2
    assert "has no best (no held-out loss was measured): choose from base, " in best.stderr
    assert best.stderr.strip().endswith("choose from base, epoch1, epoch2, last.")


def test_the_best_is_kept_and_named(door: Door, arguments: list[str]) -> None:
    arguments = [
        *arguments, "keep=best", "schedule=constant", "optim.lr=0.1", "schedule.epochs=5",
        "keep.resume_steps=2", "eval.speak_tokens=0",
    ]  # fmt: skip
    done = door("train", *arguments)
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip())
    found = json.loads((run / "summary.json").read_text())
    assert found["best_kept"] is True
    kept = [checkpoint.progress.epoch for checkpoint in whole(run)]
    assert kept == sorted({found["best_epoch"], 5})
    (best,) = named(run, ["best"])
    assert best == f"epoch{found['best_epoch']}"
    assert list(named(run, ["last"])) == ["epoch5"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (["keep=best", "eval=none", "eval.every_steps=null"], "eval.full=false measures none"),
        (["eval.full=false", "eval.patience=2"], "eval.patience=2 needs full_valid_loss"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    door: Door, arguments: list[str], wrong: list[str], why: str
) -> None:
    done = door("train", *arguments, *wrong)
    assert done.returncode == 2
    assert why in done.stderr
    assert "loading" not in done.stderr
