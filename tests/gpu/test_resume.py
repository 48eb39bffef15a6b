"""A run on the GPU, killed and resumed through the door, against the same run left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

TOLERANCE = 1e-3
SECONDS = 240


@contextmanager
def training(root: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The door in a new interpreter: a CUDA context does not survive a fork."""
    arguments = [
        "corpus=gpu",
        f"root={root}",
        "task=messages",
        f"task.rows={folder / 'train.jsonl'}",
        f"task.valid_rows={folder / 'valid.jsonl'}",
        f"model.base={folder / 'model'}",
        "model.name=small",
        "model.dialect=chatml",
        "model.context=256",
        "adapter=qlora",
        "adapter.dropout=0.1",
        "optim.lr=1e-2",
        "optim.rows_per_step=4",
        "schedule.epochs=2",
        "eval.speak_tokens=0",
        "memory=packed",
        "keep.resume_steps=4",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "train", *arguments],
        cwd=root,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def trained(run: Path) -> dict[int, dict[str, Any]]:
    """The steps noted so far; a line without its end is left for later."""
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return {line["step"]: line for line in lines if "train_loss" in line}


def test_a_killed_run_goes_on_with_the_same_rows_and_loss(folder: Path, tmp_path: Path) -> None:
    calm_root, root = tmp_path / "calm", tmp_path / "killed"
    calm_root.mkdir()
    with training(calm_root, folder) as process:
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    calm = Path(out.strip())
    shutil.copytree(calm_root / "runs" / "prepare", root / "runs" / "prepare")
    run = root / "runs" / "train" / calm.name
    with training(root, folder) as process:
        while process.poll() is None and max(trained(run), default=0) < 6:
            time.sleep(0.005)
        process.kill()
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == -signal.SIGKILL, err
    with training(root, folder) as process:
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    resumed = next(
        int(line.split("going on after step ")[1].split()[0])
        for line in err.splitlines()
        if "going on after step " in line
    )
    assert resumed >= 4
    assert (run / "plan.jsonl").read_bytes() == (calm / "plan.jsonl").read_bytes()
    expected, found = trained(calm), trained(run)
    assert found.keys() == expected.keys()
    assert [s["tokens"] for s in found.values()] == [s["tokens"] for s in expected.values()]
    first = resumed + 1
    assert abs(found[first]["train_loss"] - expected[first]["train_loss"]) <= TOLERANCE
    # The loss has moved so far that fresh weights, or those of another step, would be noticed.
    assert abs(expected[1]["train_loss"] - expected[first]["train_loss"]) > 10 * TOLERANCE
