"""What a run came to: figures and warnings from made-up journals, and once from a real run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config.optim import OptimConfig
from understudy.records import jsonl
from understudy.records.checkpoints import TRAINER_FILE, Progress
from understudy.train import summary
from understudy.train.journal import FULL_VALID_LOSS, Journal
from understudy.train.plan import plan
from understudy.train.processes import Processes

Door = Callable[..., Any]
SIZES = (10, 20, 30, 40)
"""Supervised tokens of the rows: two steps an epoch."""
NAN = math.nan


def made_up(folder: Path, held_out: Sequence[float], *, kept: Sequence[int] = ()) -> Any:
    """A run whose held-out loss went so: the base's first, then one an epoch; none for no rows."""
    folder.mkdir(exist_ok=True)
    epochs = max(1, len(held_out) - 1)
    steps = plan(SIZES, OptimConfig(rows_per_step=2), epochs, 7)
    journal = Journal(folder, len(steps))
    losses = iter(held_out)
    for loss in held_out[:1]:
        journal.measure({"step": 0, FULL_VALID_LOSS: next(losses, loss)})
    for step in steps:
        journal.measure({"step": step.number, "train_loss": 1.0 + 1.0 / step.number})
        if step.ends_epoch and held_out:
            journal.measure({"step": step.number, FULL_VALID_LOSS: next(losses)})
    for epoch in kept:
        at = Progress(step=2 * epoch, epoch=epoch, ends_epoch=True, tokens=0)
        place = folder / "checkpoints" / f"step-{at.step:06d}"
        place.mkdir(parents=True)
        artifacts.write_json(place / TRAINER_FILE, {"progress": at})
        identity = Identity(stage="train", format=0, config={}, inputs={})
        artifacts.seal(place / "manifest.json", identity, [place / TRAINER_FILE])
    return SimpleNamespace(
        folder=folder,
        journal=journal,
        steps=steps,
        data=SimpleNamespace(train=[SimpleNamespace(supervised=size) for size in SIZES]),
        processes=Processes(),
    )


def came_to(run: Any) -> summary.Summary:
    last = run.steps[-1]
    at = Progress(step=last.number, epoch=last.epoch, ends_epoch=True, tokens=100 * last.epoch)
    summary.write(run, at)
    found = summary.summarise(run, at)
    written = json.loads((run.folder / summary.SUMMARY_FILE).read_text())
    assert written == artifacts.plain(found)
    assert NAN not in written.values()
    return found


def test_a_falling_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_up(tmp_path / "run", [3.0, 2.5, 2.2, 2.0], kept=[3])
    found = came_to(run)
    assert found.warnings == ()
    assert (found.base_loss, found.valid_loss, found.best_loss) == (3.0, 2.0, 2.0)
    assert (found.best_epoch, found.best_step, found.best_kept) == (3, 6, True)
    assert found.perplexity == pytest.approx(math.e**2)
    # By tokens, not by steps: the last epoch's two steps bear different numbers of them.
    sizes = [sum(SIZES[row] for row in step.rows) for step in run.steps[-2:]]
    assert sizes[0] != sizes[1]
    mean = (sizes[0] * (1 + 1 / 5) + sizes[1] * (1 + 1 / 6)) / sum(sizes)
    assert found.train_loss == pytest.approx(mean)
    assert found.gap == pytest.approx(2.0 - mean)
    said = capsys.readouterr().err
    assert "held-out loss 2.000 (base 3.000), perplexity 7.39" in said
    assert "over the last epoch, while the weights moved: held-out loss is 0.8" in said
    assert "best: epoch 3, step 6, held-out loss 2.000" in said
    assert "warning" not in said


def test_a_loss_that_rises_after_epoch_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = came_to(made_up(tmp_path / "run", [3.0, 2.5, 2.2, 2.4, 2.7], kept=[2, 4]))
    (warning,) = found.warnings
    assert "rose from 2.200 after epoch 2 to 2.700" in warning
    assert "checkpoints=[best]" in warning
    assert (found.best_epoch, found.valid_loss) == (2, 2.7)
    assert "overfitting" in capsys.readouterr().err
    events = jsonl.read_whole(tmp_path / "run" / "events.jsonl")
    assert any("overfitting" in event.get("message", "") for event in events)
    (gone,) = came_to(made_up(tmp_path / "gone", [3.0, 2.5, 2.2, 2.4, 2.7], kept=[4])).warnings
    assert "keep=best" in gone
    assert "checkpoints=[best]" not in gone


@pytest.mark.parametrize(
    ("held_out", "warned"),
    [
        ([3.0, 2.5, 2.495], ["plateau"]),
        ([3.0, 2.5, 2.51], ["plateau"]),
        ([3.0, 2.5, 2.4], []),
        ([3.0, 3.2, 3.1], ["no epoch is better than the base"]),
        ([3.0, 3.2, 3.9], ["no epoch is better than the base", "overfitting"]),
        ([3.0, 2.9], []),
        ([3.0, 3.1], ["no epoch is better than the base"]),
        ([3.0, NAN, 2.0], ["not finite after epoch 1 "]),
        ([], []),
        ([3.0], []),
    ],
)
def test_warnings(held_out: list[float], warned: list[str]) -> None:
    found = summary.warnings(held_out, 2.0)
    assert len(found) == len(warned)
    for part, warning in zip(warned, found, strict=True):
        assert part in warning


def test_no_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = came_to(made_up(tmp_path / "run", []))
    assert found.valid_loss is found.base_loss is found.gap is found.best_step is None
    assert found.train_loss > 1
    assert found.warnings == ()
    assert "while the weights moved; no held-out loss at the end" in capsys.readouterr().err


@pytest.mark.parametrize("held_out", [[3.0, 2.0, NAN], [NAN, NAN], [3.0, math.inf], [3.0, 900.0]])
def test_what_is_not_finite_breaks_nothing(tmp_path: Path, held_out: list[float]) -> None:
    found = came_to(made_up(tmp_path / "run", held_out))
    assert found.valid_loss is None or math.isfinite(found.valid_loss)
    assert found.perplexity is None or math.isfinite(found.perplexity)
    assert found.warnings
    assert found.best_epoch in (None, 1)


def test_through_the_door_and_shown(door: Door, arguments: list[str]) -> None:
    done = door("train", *arguments, "schedule.epochs=2")
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip())
    found = json.loads((run / "summary.json").read_text())
    held_out = [m for m in jsonl.read_whole(run / "metrics.jsonl") if FULL_VALID_LOSS in m]
    assert found["base_loss"] == held_out[0][FULL_VALID_LOSS]
    assert found["valid_loss"] == held_out[-1][FULL_VALID_LOSS]
    assert found["best_kept"] is True
    assert f"held-out loss {found['valid_loss']:.3f} (base " in done.stderr
    tool = Path(sys.executable).parent / "understudy"
    shown = subprocess.run([tool, "show", run], capture_output=True, text=True, check=True).stdout
    assert f"perplexity at the end {found['perplexity']:.6g}" in shown
    assert f"lowest held-out loss {found['best_loss']:.6g}, of epoch {found['best_epoch']}" in shown
    found["warnings"] = ["overfitting: it rose"]
    artifacts.write_json(run / "summary.json", found)
    shown = subprocess.run([tool, "show", run], capture_output=True, text=True, check=True).stdout
    assert "warning: overfitting: it rose" in shown
    (run / "summary.json").write_text("{")
    shown = subprocess.run([tool, "show", run], capture_output=True, text=True, check=True).stdout
    assert "summary.json cannot be read" in shown
