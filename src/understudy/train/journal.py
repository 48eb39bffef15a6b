"""What a run writes while it goes on: status, events, metrics, timing, scores."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.records import jsonl
from understudy.records.checkpoints import Progress
from understudy.train.evaluate import Scores

FULL_VALID_LOSS = "full_valid_loss"
VALID_LOSS = "valid_loss"
GROWING = ("metrics", "timing", "scores", "events")


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
        metrics: Every line of `metrics.jsonl` so far.
    """

    def __init__(self, folder: Path, steps: int = 0) -> None:
        self.folder = folder
        self.steps = steps
        self.metrics: list[dict[str, Any]] = []
        self.spoken: set[int] = set()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    # --- status ---

    def status(self, state: State, **details: Any) -> None:  # noqa: ANN401
        """Replace `status.json`."""
        record = {
            "state": state,
            **details,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        artifacts.write_json(self.folder / "status.json", record)

    def doing(self, doing: Doing, at: Progress) -> None:
        """Say in `status.json` what the run is at."""
        self.status(State.running, doing=doing, step=at.step, steps=self.steps, epoch=at.epoch)

    def end(self, state: State, **details: Any) -> None:  # noqa: ANN401
        """The last status; on a full disk there is none, and what filled it is said elsewhere."""
        with suppress(OSError):
            self.status(state, **details)

    # --- lines ---

    def message(self, text: str, **data: Any) -> None:  # noqa: ANN401
        """An event for a person."""
        event = {"type": "message", "message": text, **({"data": data} if data else {})}
        jsonl.append(self._file("events"), event)

    def measure(self, record: dict[str, Any]) -> None:
        """A line of metrics, and the same as an event."""
        jsonl.append(self._file("metrics"), record)
        jsonl.append(self._file("events"), {"type": "metrics", "data": record})
        self.metrics.append(record)

    def time(self, record: dict[str, Any]) -> None:
        """A line of timing: what differs from run to run."""
        jsonl.append(self._file("timing"), record)

    def score(self, checkpoint: str, step: int, scores: Scores) -> None:
        """Sums by item and speaker for one checkpoint."""
        for (item, speaker), sums in sorted(scores.parts.items()):
            line = {"checkpoint": checkpoint, "step": step, "item": item, "speaker": speaker}
            jsonl.append(self._file("scores"), {**line, **artifacts.record(sums)})

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
        for name in GROWING:
            self._file(name).unlink(missing_ok=True)

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`: it is going to be done again."""
        for name in ("metrics", "timing", "scores"):
            path = self._file(name)
            lines = jsonl.read_whole(path) if path.exists() else []
            kept = [line for line in lines if line["step"] <= step]
            if name == "metrics":
                self.metrics = kept
            if name == "scores":
                # Scores come before the line that sums them up: without it they are not whole.
                kept = [line for line in kept if self.has(line["step"], FULL_VALID_LOSS)]
            jsonl.write(path, kept)
        events = jsonl.read_whole(self._file("events")) if self._file("events").exists() else []
        self.spoken = {e["data"]["step"] for e in events if "sample" in e.get("data", {})}
