"""Several processes that train together come to what one comes to alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def torchrun(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "train", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def measured(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one_and_one_of_them_speaks(
    door: object, arguments: list[str], tmp_path: Path
) -> None:
    # One row in the last step of an epoch: the second process has nothing to do in it.
    arguments = [*arguments, "adapter.dropout=0", "schedule.epochs=1", "optim.rows_per_step=3"]
    alone = door("train", *arguments)  # type: ignore[operator]
    assert alone.returncode == 0, alone.stderr
    run = Path(alone.stdout.strip())
    expected = measured(run)
    scores = (run / "scores.jsonl").read_text().splitlines()
    shutil.rmtree(run)
    # They try out the same plans of memory and take the same one.
    together = torchrun(tmp_path, *arguments, "memory=auto")
    assert together.returncode == 0, together.stderr
    assert together.stderr.count("train: trial: 1 line, nothing recomputed") == 1
    assert together.stderr.count("written to memory.json") == 1
    assert together.stdout == alone.stdout
    assert together.stderr.count("parameters are trained") == 1
    found = measured(run)
    assert len(found) == len(expected)
    for one, other in zip(expected, found, strict=True):
        # Sums in another order differ in the last digits, and those grow from step to step.
        assert other == pytest.approx(one, rel=1e-4)
    assert len((run / "scores.jsonl").read_text().splitlines()) == len(scores)
    again = torchrun(tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("done already") == 1
