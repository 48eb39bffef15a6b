"""Checkpoints: what was learned, as other tools load it, beside the state to resume exactly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.console import RunFailedError, UserError, warn
from understudy.models import learned
from understudy.records.checkpoints import (
    TRAINER_FILE,
    Checkpoint,
    Progress,
    read_progress,
    whole,
)
from understudy.train import rng
from understudy.train.journal import FULL_VALID_LOSS, Doing
from understudy.train.training import Training

STATE_FILE = "optimizer.safetensors"
RNG = "rng."


def save(run: Training, at: Progress) -> None:
    """Write a checkpoint, and remove those that `keep` does not name.

    Raises:
        RunFailedError: the disk is full; the checkpoints before are as they were.
    """
    if not run.processes.first:
        return
    folder = run.folder / "checkpoints" / f"step-{at.step:06d}"
    run.journal.doing(Doing.saving, at)
    try:
        write(run, folder, at)
    except Exception as error:
        full = _full_disk(run.folder, error)
        if full is None:
            raise
        artifacts.clear(folder)
        folder.rmdir()
        raise RunFailedError(f"step {at.step} could not be saved: {full}") from None
    prune(run)
    run.journal.message(f"saved {folder.name}")


def write(run: Training, folder: Path, at: Progress) -> None:
    """Write a checkpoint into `folder`; it counts from the moment its manifest stands."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    artifacts.clear(folder)
    learned.save(run.model, folder)
    tensors, scalars = _flatten(run.optimizer.state_dict())
    generators = {f"{RNG}{device}": state for device, state in rng.state().items()}
    save_file({**tensors, **generators}, folder / STATE_FILE)
    record = {
        "progress": at,
        "trained_parameters": learned.count(run.model),
        "optimizer": scalars,
        "precision": run.precision.state(),
    }
    artifacts.write_json(folder / TRAINER_FILE, record)
    files = [file for file in folder.iterdir() if file.is_file()]
    artifacts.seal(folder / "manifest.json", run.identity, files)


def restore(run: Training, checkpoint: Checkpoint) -> None:
    """Put what was learned, optimiser and random generators back to where they were, bit for bit.

    Raises:
        UserError: what was learned does not fit this model.
    """
    from safetensors.torch import load_file

    record = json.loads((checkpoint.folder / TRAINER_FILE).read_text(encoding="utf-8"))
    own = learned.count(run.model)
    if record["trained_parameters"] != own:
        raise UserError(
            f"{checkpoint.folder} has {record['trained_parameters']:,} trained parameters and this "
            f"model {own:,}: it is of another run. Start over with fresh=true."
        )
    learned.restore(run.model, checkpoint.folder)
    tensors = load_file(checkpoint.folder / STATE_FILE)
    generators = {k.removeprefix(RNG): tensors.pop(k) for k in list(tensors) if k.startswith(RNG)}
    run.optimizer.load_state_dict(_unflatten(tensors, record["optimizer"]))
    run.precision.restore(record["precision"])
    rng.restore(generators)


def newest(run: Path, identity: Identity) -> Checkpoint | None:
    """The newest whole checkpoint of this run; a damaged one is passed over, and said so.

    Raises:
        UserError: a whole checkpoint belongs to another run, or all of them are damaged.
    """
    damaged = []
    for candidate in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        path = candidate / "manifest.json"
        if not path.exists():
            warn(f"{candidate.name} was not finished: passed over")
            continue
        manifest = artifacts.read_manifest(path)
        fault = "its manifest is torn" if manifest is None else artifacts.damage(path, manifest)
        if manifest is None or fault is not None:
            warn(f"{candidate.name} is damaged ({fault}): passed over")
            damaged.append(candidate.name)
            continue
        if manifest.identity.hash != identity.hash:
            raise UserError(f"{candidate} belongs to another run: use fresh=true to start over.")
        return Checkpoint(candidate, read_progress(candidate))
    if damaged:
        raise UserError(
            f"{run} has no whole checkpoint left ({', '.join(damaged)} damaged), and nothing is "
            "overwritten unasked: put the files back, or start over with fresh=true."
        )
    return None


def prune(run: Training) -> None:
    """Remove what `keep` does not name, and what a kill left half-written or half-removed.

    The two newest always stay: one may turn out damaged.
    """
    if not run.processes.first:
        return
    found = list(whole(run.folder))
    names = {checkpoint.folder for checkpoint in (*kept(run, found), *found[-2:])}
    for folder in (run.folder / "checkpoints").glob("step-*"):
        if folder not in names:
            artifacts.clear(folder)
            folder.rmdir()


def tidy(run: Training) -> None:
    """Remove what was only there to resume from, once the run is done."""
    if not run.processes.first:
        return
    for checkpoint in list(whole(run.folder)):
        if not checkpoint.progress.ends_epoch:
            artifacts.clear(checkpoint.folder)
            checkpoint.folder.rmdir()


def kept(run: Training, found: list[Checkpoint]) -> list[Checkpoint]:
    """Those that stay for good."""
    keep = run.config.keep
    epochs = [checkpoint for checkpoint in found if checkpoint.progress.ends_epoch]
    chosen = epochs
    if keep.epochs is not None:
        chosen = [c for c in epochs if c.progress.epoch in keep.epochs]
    elif keep.last is not None:
        chosen = epochs[-keep.last :]
    losses = [(loss, step) for step, loss in run.journal.values(FULL_VALID_LOSS) if step]
    if keep.best and losses:
        best = min(losses)[1]
        chosen = [*chosen, *(c for c in epochs if c.progress.step == best)]
    return chosen


def _full_disk(folder: Path, error: Exception) -> str | None:
    """What to say where an error came from a full disk; None for any other.

    safetensors writes from Rust, and its errors bear no number: only their text tells.
    """
    if "No space left on device" not in str(error) and "os error 28" not in str(error):
        return None
    usage = shutil.disk_usage(folder)
    return (
        f"the disk that holds {folder} is full ({usage.free / 2**20:,.0f} of "
        f"{usage.total / 2**20:,.0f} MiB free). What was saved before is whole: make room, and "
        "the same command goes on from there."
    )


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An optimiser's state as tensors by name, and the rest as JSON."""
    import torch

    tensors: dict[str, Any] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.contiguous()
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"groups": state["param_groups"], "scalars": scalars}


def _unflatten(tensors: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", maxsplit=1)
        state.setdefault(int(index), {})[name] = value
    for index, scalars in record["scalars"].items():
        state.setdefault(int(index), {}).update(scalars)
    return {"state": state, "param_groups": record["groups"]}
