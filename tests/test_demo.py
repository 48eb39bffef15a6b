"""The whole flow on the sample show, as `make demo` runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_demo_is_visibly_better_at_the_show_and_then_done_at_once(tmp_path: Path) -> None:
    command = ["bash", "scripts/demo.sh", f"root={tmp_path}"]
    first = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    report = Path(first.stdout.strip())
    assert report.is_file()
    assert "Traceback" not in first.stderr
    (metrics,) = (tmp_path / "runs" / "train").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    losses = [line["full_valid_loss"] for line in lines if "full_valid_loss" in line]
    assert losses[-1] < 0.85 * losses[0]
    assert f"{losses[0]:.2f}" in report.read_text()
    again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert again.stdout == first.stdout
    assert again.stderr.count("already") == 6
