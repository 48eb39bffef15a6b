"""Stops a running door at a named place, exactly: it is frozen, looked at, and only then hit."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from doors import DoorProcess, Ended

LINES = ("metrics.jsonl", "scores.jsonl", "plan.jsonl", "summary.json", "config.yaml")
SLICE = 0.002
"""Seconds for which a watched door runs before it is frozen and looked at again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A frozen training run, as its files tell."""

    state: str
    doing: str | None = None
    step: int = 0
    steps: int = 0
    half: bool = False
    """A checkpoint lies there without a manifest."""
    measured: int = -1
    """Step of the last line of metrics."""
    summed_up: bool = False
    """`summary.json` is there, the run's manifest is not."""

    @property
    def ends_epoch(self) -> bool:
        """With two epochs: whether the step is the last of one of them."""
        return self.step > 0 and self.step in (self.steps // 2, self.steps)


Aim = Callable[[Seen], bool]
AIMS: dict[str, Aim] = {
    "loading": lambda s: s.state == "validating_files",
    "base": lambda s: s.doing == "measuring" and s.step == 0,
    "first step": lambda s: s.doing == "training" and s.step == 0 and s.measured == 0,
    "mid-epoch": lambda s: s.doing == "training" and s.step > 0 and not s.ends_epoch,
    "saving": lambda s: s.doing == "saving" and s.half and not s.ends_epoch,
    "validation": lambda s: s.doing == "measuring" and s.step > 0 and not s.ends_epoch,
    "saving the epoch": lambda s: s.doing == "saving" and s.half and s.ends_epoch,
    "epoch's edge": lambda s: s.doing in ("measuring", "training") and s.ends_epoch,
    "speaking": lambda s: s.doing == "speaking",
    "last measurement": lambda s: s.doing == "measuring" and 0 < s.step == s.steps,
    "sealing": lambda s: s.summed_up and s.step == s.steps > 0,
}


def look(runs: Path, process: int | None) -> Seen | None:
    """What a process's run below `runs` is at; None while it has not said so."""
    for path in runs.glob("*/status.json"):
        status = json.loads(path.read_text())
        if status["process"] == process:
            return _seen(path.parent, status)
    return None


def _seen(run: Path, status: dict[str, Any]) -> Seen:
    checkpoints = list(run.glob("checkpoints/step-*"))
    lines = (run / "metrics.jsonl").read_text().splitlines() if has(run, "metrics.jsonl") else []
    return Seen(
        state=status["state"],
        doing=status.get("doing"),
        step=status.get("step", 0),
        steps=status.get("steps", 0),
        half=any(not (each / "manifest.json").exists() for each in checkpoints),
        measured=json.loads(lines[-1])["step"] if lines else -1,
        summed_up=has(run, "summary.json") and not has(run, "manifest.json"),
    )


def has(run: Path, name: str) -> bool:
    return (run / name).is_file()


def freeze(door: DoorProcess, runs: Path, aim: Aim, *, jitter: float = 0) -> Seen | None:
    """Freeze the door where `aim` holds; None if it ended without ever being seen there.

    Args:
        door: A running door.
        runs: `runs/train`.
        aim: Says whether this is the place.
        jitter: Seconds to go on once the place is reached, if it is still the place then.
    """
    while door.running:
        time.sleep(SLICE)
        seen = look(runs, door.process.pid)
        if seen is None or not aim(seen):
            continue
        time.sleep(jitter)
        if not stop(door):
            return None
        seen = look(runs, door.process.pid)
        if seen is not None and aim(seen):
            return seen
        door.send(signal.SIGCONT)
        jitter = 0
    return None


def stop(door: DoorProcess) -> bool:
    """Freeze the door, and wait until it is; whether it was still running."""
    if not door.running:
        return False
    door.send(signal.SIGSTOP)
    while door.running:
        state = Path(f"/proc/{door.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            return True
        time.sleep(SLICE / 10)
    return False


def result(run: Path) -> dict[str, str]:
    """SHA-256 of everything that must not depend on how often a run was killed, by name."""
    files = [run / name for name in LINES]
    files += [file for file in sorted(run.glob("checkpoints/*/*")) if file.is_file()]
    return {
        file.relative_to(run).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@dataclass(slots=True)
class Site:
    """A folder in which one prepared set is trained on, again and again."""

    root: Path
    arguments: list[str]
    calm_results: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        return self.root / "runs" / "train"

    @property
    def run(self) -> Path:
        (found,) = self.runs.iterdir()
        return found

    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.run / "status.json").read_text()))

    def start(self, *overrides: str) -> DoorProcess:
        return DoorProcess("train", [*self.arguments, *overrides], self.root)

    def finish(self, *overrides: str) -> Ended:
        return self.start(*overrides).wait()

    def clear(self) -> None:
        shutil.rmtree(self.runs, ignore_errors=True)

    def calm(self, *overrides: str) -> dict[str, str]:
        """What the run comes to when nothing disturbs it; it is made once, and removed."""
        if overrides not in self.calm_results:
            self.clear()
            ended = self.finish(*overrides)
            assert ended.returncode == 0, ended.stderr
            self.calm_results[overrides] = result(self.run)
        self.clear()
        return self.calm_results[overrides]

    def kill(self, aim: str, chance: random.Random, *overrides: str) -> str:
        """Start the door and SIGKILL it at a place; the same command is all that ever follows.

        Returns:
            What the door had said on stderr.
        """
        for _ in range(5):
            door = self.start(*overrides)
            seen = freeze(door, self.runs, AIMS[aim], jitter=chance.random() * 0.02)
            if seen is not None:
                assert door.running
                door.send(signal.SIGKILL)
                ended = door.wait()
                assert ended.returncode == -signal.SIGKILL
                return ended.stderr
            ended = door.wait()
            assert ended.returncode == 0, ended.stderr
            # It got past the place unseen, which a busy machine may bring about.
            if aim == "sealing":
                for name in ("manifest.json", "summary.json"):
                    (self.run / name).unlink()
            else:
                self.clear()
        pytest.fail(f"no run was ever seen {aim}")
