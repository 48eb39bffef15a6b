"""What a run writes while it goes on: status, events, metrics, timing, scores."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.records import jsonl
from understudy.train.evaluate import Scores


class State(Enum):
    """States of a run, by the names that job lists use."""

    validating_files = "validating_files"
    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


class Journal:
    """The files of a run folder that grow; each line is flushed, another terminal can watch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = folder / "metrics.jsonl"
        self.timing = folder / "timing.jsonl"
        self.scores = folder / "scores.jsonl"
        self.events = folder / "events.jsonl"

    def status(self, state: State, **details: Any) -> None:  # noqa: ANN401
        """Replace `status.json`."""
        artifacts.write_json(self.folder / "status.json", {"state": state, **details})

    def message(self, text: str) -> None:
        """An event for a person."""
        jsonl.append(self.events, {"type": "message", "message": text})

    def measure(self, record: dict[str, Any]) -> None:
        """A line of metrics, and the same as an event."""
        jsonl.append(self.metrics, record)
        jsonl.append(self.events, {"type": "metrics", "data": record})

    def time(self, record: dict[str, Any]) -> None:
        """A line of timing: what differs from run to run."""
        jsonl.append(self.timing, record)

    def score(self, checkpoint: str, step: int, scores: Scores) -> None:
        """Sums by item and speaker for one checkpoint."""
        for (item, speaker), sums in sorted(scores.parts.items()):
            line = {"checkpoint": checkpoint, "step": step, "item": item, "speaker": speaker}
            jsonl.append(self.scores, {**line, **artifacts.record(sums)})

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`: it is going to be done again."""
        for path in (self.metrics, self.timing, self.scores):
            if path.exists():
                jsonl.write(path, [line for line in jsonl.read_whole(path) if line["step"] <= step])
