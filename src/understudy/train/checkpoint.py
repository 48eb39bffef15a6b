"""Checkpoints: an adapter that other tools load, beside the state that makes resuming exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config.keep import KeepConfig
from understudy.console import UserError, warn
from understudy.models import adapters
from understudy.records.checkpoints import (
    TRAINER_FILE,
    Checkpoint,
    Progress,
    read_progress,
    whole,
)

STATE_FILE = "optimizer.safetensors"


def save(
    folder: Path,
    identity: Identity,
    model: Any,  # noqa: ANN401
    optimizer: Any,  # noqa: ANN401
    progress: Progress,
) -> None:
    """Write a checkpoint; it counts from the moment its manifest stands."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    artifacts.clear(folder)
    adapters.save(model, folder)
    tensors, scalars = _flatten(optimizer.state_dict())
    save_file({**tensors, **_rng()}, folder / STATE_FILE)
    record = {"progress": progress, "optimizer": scalars}
    artifacts.write_json(folder / TRAINER_FILE, record)
    artifacts.seal(folder / "manifest.json", identity, [f for f in folder.iterdir() if f.is_file()])


def restore(checkpoint: Checkpoint, model: Any, optimizer: Any) -> None:  # noqa: ANN401
    """Put adapter, optimiser and random generators back to where they were, bit for bit.

    Raises:
        UserError: the adapter's keys do not match.
    """
    import torch
    from safetensors.torch import load_file

    adapters.restore(model, checkpoint.folder)
    tensors = load_file(checkpoint.folder / STATE_FILE)
    record = json.loads((checkpoint.folder / TRAINER_FILE).read_text(encoding="utf-8"))
    torch.set_rng_state(tensors.pop("rng.cpu"))
    cuda = tensors.pop("rng.cuda", None)
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda)
    optimizer.load_state_dict(_unflatten(tensors, record["optimizer"]))


def newest(run: Path, identity: Identity) -> Checkpoint | None:
    """The newest whole checkpoint of this run; a damaged one is passed over, and said so.

    Raises:
        UserError: a whole checkpoint belongs to another run.
    """
    for candidate in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        manifest = artifacts.read_manifest(candidate / "manifest.json")
        if manifest is None:
            warn(f"{candidate.name} was not finished: passed over")
            continue
        fault = artifacts.damage(candidate / "manifest.json", manifest)
        if fault is not None:
            warn(f"{candidate.name} is damaged ({fault}): passed over")
            continue
        if manifest.identity.hash != identity.hash:
            raise UserError(f"{candidate} belongs to another run: use fresh=true to start over.")
        return Checkpoint(candidate, read_progress(candidate))
    return None


def prune(run: Path, config: KeepConfig) -> None:
    """Remove what `keep` does not name, and what a kill left half-written or half-removed.

    The two newest always stay: one may turn out damaged.
    """
    found = list(whole(run))
    epochs = [checkpoint for checkpoint in found if checkpoint.progress.ends_epoch]
    if config.epochs is not None:
        kept = [c for c in epochs if c.progress.epoch in config.epochs]
    elif config.last is not None:
        kept = epochs[-config.last :]
    else:
        kept = epochs
    names = {checkpoint.folder for checkpoint in (*kept, *found[-2:])}
    for folder in (run / "checkpoints").glob("step-*"):
        if folder not in names:
            artifacts.clear(folder)
            folder.rmdir()


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


def _rng() -> dict[str, Any]:
    import torch

    states = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["rng.cuda"] = torch.cuda.get_rng_state()
    return states
