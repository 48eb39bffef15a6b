"""Checkpoints: what was learned, as other tools load it, beside the state to resume exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.console import UserError, warn
from understudy.models import learned
from understudy.records.checkpoints import (
    TRAINER_FILE,
    Checkpoint,
    Progress,
    folder_of,
    folders,
    read_progress,
    whole,
)
from understudy.train import full_disk, machine, optimizer, rng
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
    folder = folder_of(run.folder, at.step)
    run.journal.doing(Doing.saving, at)
    try:
        with full_disk.explained(run.folder, f"step {at.step} could not be saved"):
            write(run, folder, at)
    except BaseException:
        # What is half-written takes room that the last messages need.
        remove(folder)
        raise
    prune(run)
    run.journal.message(f"saved {folder.name}")


def write(run: Training, folder: Path, at: Progress) -> None:
    """Write a checkpoint into `folder`; it counts from the moment its manifest stands."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    artifacts.clear(folder)
    learned.save(run.model, folder)
    tensors, scalars = _flatten(optimizer.state(run.optimizer))
    generators = {f"{RNG}{device}": state for device, state in rng.state().items()}
    save_file({**tensors, **generators}, folder / STATE_FILE)
    record = {
        "progress": at,
        "trained_parameters": learned.count(run.model),
        "optimizer": scalars,
        "precision": run.precision.state(),
        "machine": machine.here(run),
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
    _say_what_differs(run, record["machine"], checkpoint.progress.step)
    # Copied: the tensors of load_file live in a file that is soon removed.
    tensors = {k: v.clone() for k, v in load_file(checkpoint.folder / STATE_FILE).items()}
    generators = {k.removeprefix(RNG): tensors.pop(k) for k in list(tensors) if k.startswith(RNG)}
    optimizer.restore(run.optimizer, _unflatten(tensors, record["optimizer"]))
    run.precision.restore(record["precision"])
    if run.processes.first:
        rng.restore(generators)
    else:
        rng.seed(run.config.seed, run.processes.rank, checkpoint.progress.step)


def _say_what_differs(run: Training, before: dict[str, Any], step: int) -> None:
    differing = machine.differences(before, machine.here(run))
    if differing and run.processes.first:
        text = (
            f"step {step} was reached on another machine ({'; '.join(differing)}): from here on "
            "figures may differ in their last digits from those of a run that was not moved"
        )
        warn(text)
        run.journal.message(f"warning: {text}")


def newest(run: Path, identity: Identity) -> Checkpoint | None:
    """The newest whole checkpoint of this run; a damaged one is passed over, and said so.

    Raises:
        UserError: a checkpoint belongs to another run, or all of them are damaged.
    """
    _refuse_foreign(run, identity)
    damaged = []
    for folder in reversed(folders(run)):
        path = folder / "manifest.json"
        if not path.exists():
            warn(f"{folder.name} was not finished: passed over")
            continue
        manifest = artifacts.read_manifest(path)
        fault = "its manifest is torn" if manifest is None else artifacts.damage(path, manifest)
        if fault is None:
            return Checkpoint(folder, read_progress(folder))
        warn(f"{folder.name} is damaged ({fault}): passed over")
        damaged.append(folder.name)
    if damaged:
        raise UserError(
            f"{run} has no whole checkpoint left ({', '.join(damaged)} damaged), and nothing is "
            "overwritten unasked: put the files back, or start over with fresh=true."
        )
    return None


def _refuse_foreign(run: Path, identity: Identity) -> None:
    for folder in folders(run):
        manifest = artifacts.read_manifest(folder / "manifest.json")
        if manifest is not None and manifest.identity.hash != identity.hash:
            raise UserError(
                f"{folder} belongs to another run, and nothing is overwritten unasked: move it "
                "away, or start over with fresh=true."
            )


def prune(run: Training, beyond: int | None = None) -> None:
    """Remove what `keep` does not name, and what a kill left half-written or half-removed.

    The two newest always stay while a run goes on: one may turn out damaged.

    Args:
        run: The run.
        beyond: The step a run goes on from: what lies beyond it is going to be made again, and
            must not count as one of the newest.
    """
    if not run.processes.first:
        return
    found = [c for c in whole(run.folder) if beyond is None or c.progress.step <= beyond]
    _keep(run, [*kept(run, found), *found[-2:]])


def tidy(run: Training) -> None:
    """Keep what `keep` names, and the last epoch's, once the run is done."""
    if not run.processes.first:
        return
    found = list(whole(run.folder))
    epochs = [checkpoint for checkpoint in found if checkpoint.progress.ends_epoch]
    _keep(run, [*kept(run, found), *epochs[-1:]])


def _keep(run: Training, chosen: list[Checkpoint]) -> None:
    staying = {checkpoint.folder for checkpoint in chosen}
    for folder in folders(run.folder):
        if folder not in staying:
            remove(folder)


def remove(folder: Path) -> None:
    """Remove a checkpoint, its manifest first, so that a kill leaves nothing half-valid."""
    if folder.exists():
        artifacts.clear(folder)
        folder.rmdir()


def kept(run: Training, found: list[Checkpoint]) -> list[Checkpoint]:
    """Those that stay for good."""
    keep = run.config.keep
    epochs = [checkpoint for checkpoint in found if checkpoint.progress.ends_epoch]
    chosen = epochs
    if keep.epochs is not None:
        chosen = [c for c in epochs if c.progress.epoch in keep.epochs]
    elif keep.last is not None:
        chosen = epochs[-keep.last :]
    measured = run.journal.values(FULL_VALID_LOSS)
    losses = [(loss, step) for step, loss in measured if step and math.isfinite(loss)]
    if keep.best and losses:
        best = min(losses)[1]
        chosen = [*chosen, *(c for c in epochs if c.progress.step == best)]
    return chosen


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An optimiser's state as tensors by name, and the rest as JSON."""
    import torch

    tensors: dict[str, Any] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in _opened(entries).items():
            if isinstance(value, torch.Tensor):
                # bitsandbytes shares its quantisation maps; a file holds each tensor by itself.
                tensors[f"{index}.{name}"] = value.detach().clone().contiguous()
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"groups": state["param_groups"], "scalars": scalars}


def _opened(entries: dict[str, Any]) -> dict[str, Any]:
    """One parameter's state without the inner dict that bitsandbytes wraps its 8-bit tensors in.

    It takes them back unwrapped as well.
    """
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


def _unflatten(tensors: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", maxsplit=1)
        state.setdefault(int(index), {})[name] = value
    for index, scalars in record["scalars"].items():
        state.setdefault(int(index), {}).update(scalars)
    return {"state": state, "param_groups": record["groups"]}
