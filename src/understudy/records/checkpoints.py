"""Checkpoints of a training run, as every stage sees them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from understudy import artifacts
from understudy.records import jsonl

TRAINER_FILE = "trainer.json"
BASE = "base"
"""The name of the base model wherever checkpoints are named."""
FOLDER = re.compile(r"step-\d{6,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stood when a checkpoint was written."""

    step: int
    epoch: int
    """The epoch the step belongs to, counted from 1."""
    ends_epoch: bool
    tokens: int
    """Supervised tokens learned from so far."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint with a manifest."""

    folder: Path
    progress: Progress

    @property
    def name(self) -> str:
        """`epoch<N>` for those made at an epoch's end, `step<N>` for the others."""
        at = self.progress
        return f"epoch{at.epoch}" if at.ends_epoch else f"step{at.step}"


def read_progress(folder: Path) -> Progress:
    """Where the run stood when the checkpoint was written."""
    record = json.loads((folder / TRAINER_FILE).read_text(encoding="utf-8"))
    return Progress(**record["progress"])


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"step-{step:06d}"


def folders(run: Path) -> list[Path]:
    """Every checkpoint's folder, whole or not, oldest first; other names are left alone."""
    found = (run / "checkpoints").glob("step-*")
    own = [path for path in found if FOLDER.fullmatch(path.name) and path.is_dir()]
    return sorted(own, key=lambda path: int(path.name.removeprefix("step-")))


def whole(run: Path) -> Iterator[Checkpoint]:
    """Every checkpoint of a run that was finished and has all its files, oldest first.

    Files are judged by their sizes: to read them all would take long with every save.
    """
    for folder in folders(run):
        manifest = artifacts.read_manifest(folder / "manifest.json")
        if manifest is not None and all(
            (folder / name).is_file() and (folder / name).stat().st_size == entry.bytes
            for name, entry in manifest.files.items()
        ):
            yield Checkpoint(folder, read_progress(folder))


def named(run: Path, names: list[str]) -> dict[str, Checkpoint | None]:
    """The checkpoints that a person named, by their own names; None stands for the base.

    Args:
        run: The training run's folder.
        names: `base`, `last`, `best` (lowest full_valid_loss of those kept), `epoch<N>`.

    Raises:
        ValueError: the run has no checkpoint of that name; the message lists those it has.
    """
    found = {checkpoint.name: checkpoint for checkpoint in whole(run)}
    chosen: dict[str, Checkpoint | None] = {}
    for name in names:
        if name == BASE:
            chosen[BASE] = None
        elif name == "last" and found:
            newest = list(found.values())[-1]
            chosen[newest.name] = newest
        elif name == "best" and (best := _best(run, list(found.values()))):
            chosen[best.name] = best
        elif name in found:
            chosen[name] = found[name]
        else:
            raise ValueError(_unknown(run, name, list(found.values())))
    return chosen


def _unknown(run: Path, name: str, found: list[Checkpoint]) -> str:
    why = " (no held-out loss was measured)" if name == "best" and found else ""
    known = [BASE, *(checkpoint.name for checkpoint in found)]
    known += ["last"] if found else []
    known += ["best"] if _best(run, found) else []
    return f"checkpoints: {run} has no {name}{why}: choose from {', '.join(known)}."


def _best(run: Path, found: list[Checkpoint]) -> Checkpoint | None:
    steps = {checkpoint.progress.step: checkpoint for checkpoint in found}
    losses = [
        (line["full_valid_loss"], line["step"])
        for line in jsonl.read_whole(run / "metrics.jsonl")
        if line["step"] in steps and math.isfinite(line.get("full_valid_loss", math.nan))
    ]
    return steps[min(losses)[1]] if losses else None
