"""What a run writes while it goes on: status, events, metrics, timing, scores."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.console import UserError
from understudy.records import jsonl
from understudy.records.checkpoints import Progress
from understudy.train.evaluate import Scores

FULL_VALID_LOSS = "full_valid_loss"
VALID_LOSS = "valid_loss"
GROWING = ("metrics", "timing", "scores", "events")
QUIET = 1.0
"""Seconds by which `status.json` may lag behind while nothing but the step changes: writing it
safely twice a step would cost a fast step more than a few per cent."""


class State(Enum):
    """States of a run, by the names that job lists use."""

    validating_files = "validating_files"
    """Config, data and machine are being checked."""
    queued = "queued"
    """Stopped by a signal: the same command goes on."""
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"
    """Left at once, at a second signal: the same command goes on from the last save."""


class Doing(Enum):
    """What a running run is doing."""

    training = "training"
    measuring = "measuring"
    saving = "saving"
    speaking = "speaking"


class Journal:
    """The files of a run folder that grow; each line is flushed, another terminal can watch.

    Attributes:
        writes: Whether anything goes to disk: of several processes only the first writes.
        metrics: Every line of `metrics.jsonl` so far.
    """

    def __init__(self, folder: Path, steps: int = 0, *, writes: bool = True) -> None:
        self.folder = folder
        self.steps = steps
        self.writes = writes
        self.metrics: list[dict[str, Any]] = []
        self.spoken: set[int] = set()
        self._at: dict[str, int] = {}
        self._doing: Doing | None = None
        self._written = 0.0
        self._one_at_a_time = threading.Lock()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def _append(self, name: str, record: dict[str, Any]) -> None:
        if self.writes:
            jsonl.append(self._file(name), record)

    # --- status ---

    def status(self, state: State, **details: Any) -> None:  # noqa: ANN401
        """Replace `status.json`."""
        with self._one_at_a_time:
            self._write(state, **details)

    def doing(self, doing: Doing, at: Progress) -> None:
        """Say in `status.json` what the run is at; a mere step may come `QUIET` later."""
        self._at = {"step": at.step, "steps": self.steps, "epoch": at.epoch}
        if doing is self._doing and time.monotonic() - self._written < QUIET:
            return
        self.status(State.running, doing=doing)
        self._doing, self._written = doing, time.monotonic()

    def end(self, state: State, **details: Any) -> None:  # noqa: ANN401
        """The last status; on a full disk there is none, and what filled it is said elsewhere."""
        with suppress(OSError):
            self.status(state, **details)

    def cancel(self) -> None:
        """The last status, from another thread: the run itself writes none after it."""
        self._one_at_a_time.acquire()  # never given back
        with suppress(OSError):
            self._write(State.cancelled)

    def _write(self, state: State, **details: Any) -> None:  # noqa: ANN401
        if not self.writes:
            return
        record = {
            "state": state,
            **details,
            **self._at,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        artifacts.write_json(self.folder / "status.json", record)

    # --- lines ---

    def message(self, text: str, **data: Any) -> None:  # noqa: ANN401
        """An event for a person."""
        event = {"type": "message", "message": text, **({"data": data} if data else {})}
        self._append("events", event)

    def measure(self, record: dict[str, Any]) -> None:
        """A line of metrics, and the same as an event.

        The event comes first: after a kill between the two it is there twice, and never missing.
        """
        self._append("events", {"type": "metrics", "data": record})
        self._append("metrics", record)
        self.metrics.append(record)

    def time(self, record: dict[str, Any]) -> None:
        """A line of timing: what differs from run to run."""
        self._append("timing", record)

    def score(self, checkpoint: str, step: int, scores: Scores) -> None:
        """Sums by item and speaker for one checkpoint."""
        for (item, speaker), sums in sorted(scores.parts.items()):
            line = {"checkpoint": checkpoint, "step": step, "item": item, "speaker": speaker}
            self._append("scores", {**line, **artifacts.record(sums)})

    def spoke(self, step: int, text: str, **data: Any) -> None:  # noqa: ANN401
        """A sample that the model spoke after a step."""
        self.message(text, step=step, **data)
        self.spoken.add(step)

    # --- looking back ---

    def values(self, key: str) -> list[tuple[int, float]]:
        """Step and value of everything measured under a key, in order."""
        return [(line["step"], line[key]) for line in self.metrics if key in line]

    def has(self, step: int, key: str) -> bool:
        """Whether something was measured at a step."""
        for line in reversed(self.metrics):
            if line["step"] < step:
                return False
            if key in line and line["step"] == step:
                return True
        return False

    def begin(self) -> None:
        """Forget everything: a new run."""
        self._sweep()
        for name in GROWING if self.writes else ():
            self._file(name).unlink(missing_ok=True)

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`: it is going to be done again.

        Events stay, as what happened, without a line that a kill or a full disk left torn.

        Raises:
            UserError: lines of steps that are not going to be done again are gone.
        """
        self._sweep()
        kept = {name: self._until(name, step) for name in ("metrics", "timing", "scores")}
        self.metrics = kept["metrics"]
        self._check_steps(step)
        # Scores come before the line that sums them up: without it they are not whole.
        kept["scores"] = [s for s in kept["scores"] if self.has(s["step"], FULL_VALID_LOSS)]
        kept["events"] = jsonl.read_whole(self._file("events"))
        for name in GROWING if self.writes else ():
            jsonl.write(self._file(name), kept[name])
        self.spoken = {e["data"]["step"] for e in kept["events"] if "sample" in e.get("data", {})}

    def _until(self, name: str, step: int) -> list[dict[str, Any]]:
        return [line for line in jsonl.read_whole(self._file(name)) if line["step"] <= step]

    def _check_steps(self, step: int) -> None:
        measured = {line["step"] for line in self.metrics if "train_loss" in line}
        missing = sorted(set(range(1, step + 1)) - measured)
        if missing:
            raise UserError(
                f"{self._file('metrics')} has no line of step {missing[0]} ({len(missing)} of "
                f"{step} steps are missing), and these steps are not done again: put the file "
                "back, or start over with fresh=true."
            )

    def _sweep(self) -> None:
        """Remove what a kill left of a file that was about to be replaced."""
        for part in self.folder.glob(".*.part") if self.writes else ():
            part.unlink(missing_ok=True)
