"""Early stopping: it ends a run that gets no better, and says so; a kill changes nothing of it."""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.config.evaluation import EvalConfig
from understudy.train.stopping import out_of_patience

Door = Callable[..., Any]
Start = Callable[..., Any]
NAN = math.nan


@pytest.mark.parametrize(
    ("losses", "patience", "min_gain", "stops"),
    [
        ([3.0], 1, 0.0, False),
        ([3.0, 2.9], 1, 0.0, False),
        ([3.0, 3.1], 1, 0.0, True),
        ([3.0, 3.0], 1, 0.0, True),
        ([3.0, 2.0, 2.5], 2, 0.0, False),
        ([3.0, 2.0, 2.5, 2.1], 2, 0.0, True),
        ([3.0, 2.0, 2.5, 1.9], 2, 0.0, False),
        ([3.0, 2.0, 2.5, 1.9, 2.0], 2, 0.0, False),
        ([3.0, 2.95, 2.91], 2, 0.1, True),
        ([3.0, 2.95, 2.85], 2, 0.1, False),
        ([3.0, NAN, NAN], 2, 0.0, True),
        ([NAN, 2.0, 1.9], 2, 0.0, False),
    ],
)
def test_patience(losses: list[float], patience: int, min_gain: float, stops: bool) -> None:  # noqa: FBT001
    config = EvalConfig(patience=patience, min_gain=min_gain)
    assert out_of_patience(losses, config) is stops


def bytes_of(run: Path) -> dict[str, bytes]:
    files = [run / "metrics.jsonl", run / "scores.jsonl", run / "summary.json"]
    files += sorted(run.glob("checkpoints/*/*.safetensors"))
    return {file.relative_to(run).as_posix(): file.read_bytes() for file in files}


def test_a_run_that_gets_no_better_stops_early_also_after_a_kill(
    door: Door, start: Start, arguments: list[str]
) -> None:
    arguments = [
        *arguments, "eval=early_stop", "optim.lr=0.1", "schedule=constant", "schedule.epochs=9",
        "keep.resume_steps=1", "eval.speak_tokens=0", "eval.every_steps=null", "eval.min_gain=0.05",
    ]  # fmt: skip
    done = door("train", *arguments)
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip())
    assert json.loads((run / "status.json").read_text())["state"] == "succeeded"
    found = json.loads((run / "summary.json").read_text())
    stopped = found["epochs"]
    assert 2 <= stopped < 9
    assert found["steps"] == 6 * stopped < found["planned_steps"] == 54
    assert f"stopped early, after epoch {stopped} of 9" in done.stderr
    assert "in 2 epochs (eval.patience)" in done.stderr
    assert f"best: epoch {found['best_epoch']}, step {found['best_step']}" in done.stderr
    assert found["best_loss"] <= found["valid_loss"]
    assert found["warnings"]
    assert "done already" in door("train", *arguments).stderr
    expected = bytes_of(run)
    shutil.rmtree(run)
    process = start("train", *arguments)
    last = run / "checkpoints" / f"step-{6 * stopped - 2:06d}" / "manifest.json"
    while process.running and not last.exists():
        time.sleep(0.002)
    process.send(signal.SIGKILL)
    process.wait()
    again = door("train", *arguments)
    assert again.returncode == 0, again.stderr
    assert "going on after step" in again.stderr
    assert f"stopped early, after epoch {stopped} of 9" in again.stderr
    assert bytes_of(run) == expected
