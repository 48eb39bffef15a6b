"""Whether the checkpoints of a run fit on the disk, by really writing one before step 1."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.config import Config
from understudy.config.keep import KeepConfig
from understudy.console import UserError, say
from understudy.records.checkpoints import Progress
from understudy.train import checkpoint as checkpoints
from understudy.train.full_disk import is_full
from understudy.train.training import Training

PROBE = ".probe"
"""Where the trial checkpoint goes: not among the checkpoints, which it must never pass for."""
RESUMED_FROM = 2
"""Newest checkpoints that always stay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What a checkpoint takes."""

    bytes: int
    seconds: float


def check(trial: Training) -> None:
    """Write a checkpoint, measure and remove it, and say whether the disk holds the run's.

    Args:
        trial: The run with the state of its optimiser in place, so that the size is the real one.

    Raises:
        UserError: the disk is full, or will be before the run ends.
    """
    if not trial.processes.first:
        return
    most = most_kept(trial.config, measured=measures(trial))
    probe = _write(trial, most)
    free = shutil.disk_usage(trial.folder).free
    there = _bytes(trial.folder / "checkpoints")
    if most * probe.bytes > free + there:
        raise UserError(_too_small(trial, probe, free=free, there=there))
    say(
        f"train: a checkpoint takes {size(probe.bytes)} and {probe.seconds:.1f} s; the run keeps "
        f"up to {most}: {size(most * probe.bytes)}, and {size(free + there)} are free for them"
    )


def measures(run: Training) -> bool:
    """Whether there are held-out losses at the epochs' ends, to tell the best one by."""
    return run.config.eval.full and bool(run.data.valid)


def most_kept(config: Config, *, measured: bool) -> int:
    """Most checkpoints that lie on the disk at once, while the last of them is being written.

    Args:
        config: `keep` and `schedule.epochs`.
        measured: Whether there is a best one.
    """
    keep, before = config.keep, config.schedule.epochs - 1
    if keep.epochs is not None:
        kept = sum(epoch <= before for epoch in set(keep.epochs))
    elif keep.last is not None:
        kept = min(keep.last, before)
    else:
        kept = before
    best = keep.best and measured and kept < before
    return kept + best + RESUMED_FROM + 1


def _write(trial: Training, most: int) -> Probe:
    folder = trial.folder / PROBE
    began = time.monotonic()
    try:
        checkpoints.write(trial, folder, Progress(step=0, epoch=0, ends_epoch=False, tokens=0))
        return Probe(bytes=_bytes(folder), seconds=time.monotonic() - began)
    except Exception as error:
        if not is_full(error):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        usage, one = shutil.disk_usage(trial.folder), _expected(trial)
        raise UserError(
            f"a checkpoint of about {size(one)} does not fit on the disk that holds "
            f"{trial.folder}: {size(usage.free)} of {size(usage.total)} are free, and the run "
            f"needs {size(most * one)} for up to {most} checkpoints. Make room, or set root= to "
            "another disk."
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _expected(trial: Training) -> int:
    """Bytes of what is learned and of the optimiser's state."""
    import torch

    state = trial.optimizer.state.values()
    held = [v for entry in state for v in entry.values() if isinstance(v, torch.Tensor)]
    return sum(tensor.nbytes for tensor in (*trial.trained, *held))


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _too_small(trial: Training, probe: Probe, *, free: int, there: int) -> str:
    config, measured = trial.config, measures(trial)
    most = most_kept(config, measured=measured)
    what = (
        f"the disk that holds {trial.folder} is too small for this run: a checkpoint takes "
        f"{size(probe.bytes)} and the run keeps up to {most}, which needs "
        f"{size(most * probe.bytes)}; {size(free + there)} are free for them. Make room"
    )
    if there:
        # `keep` is part of what the run is: with another one it would start over elsewhere.
        return f"{what}: the run then goes on from its last checkpoint."
    for last in range(config.schedule.epochs - 1, 0, -1):
        keep = KeepConfig(last=last, best=config.keep.best)
        fewer = most_kept(replace(config, keep=keep), measured=measured)
        if fewer < most and (last == 1 or fewer * probe.bytes <= free):
            return f"{what}, or keep fewer: keep.last={last} needs {size(fewer * probe.bytes)}."
    return f"{what}, or set root= to another disk."


def size(count: float) -> str:
    """Bytes as a person reads them: `42 MiB`, `6.3 GiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:  # noqa: PLR2004
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
