"""Unfinished runs beside a new one: a person who changed a setting by mistake sees which."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.console import say
from understudy.records.checkpoints import Checkpoint, whole

HASH = re.compile(r"[0-9a-f]{8}")
SHOWN = 4
"""Differences that are named."""
SAID_BY_MODEL = "context"
"""What a prepared set's identity repeats of the model's."""


def tell(folder: Path, made_of: Identity, prepared: Path) -> None:
    """Say which unfinished run of the same corpus and model is nearest to a new one, and how."""
    found = {
        other: (newest, differences(theirs, made_of) + _prepared(other, prepared))
        for other, newest, theirs in unfinished(folder)
    }
    if not found:
        return
    nearest = min(found, key=lambda other: (len(found[other][1]), other.name))
    newest, differing = found[nearest]
    more = f", and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    others = f" ({len(found) - 1} more are unfinished there)" if len(found) > 1 else ""
    say(
        f"train: a new run: the unfinished {nearest.name} (step {newest.progress.step}) differs in "
        f"{', '.join(differing[:SHOWN])}{more}{others}"
    )


def unfinished(folder: Path) -> Iterator[tuple[Path, Checkpoint, Identity]]:
    """Runs beside `folder`, of the same corpus and model, that have a checkpoint to go on from."""
    name = folder.name.rpartition("-")[0]
    for other in sorted(folder.parent.glob(f"{name}-*")):
        is_run = HASH.fullmatch(other.name.removeprefix(f"{name}-"))
        if not is_run or other == folder or (other / "manifest.json").exists():
            continue
        newest = max(whole(other), key=lambda checkpoint: checkpoint.progress.step, default=None)
        if newest is not None:
            manifest = artifacts.read_manifest(newest.folder / "manifest.json")
            if manifest is not None:
                yield other, newest, manifest.identity


def differences(theirs: Identity, ours: Identity) -> list[str]:
    """What differs between two runs but their prepared sets, as in `optim.lr=0.01 (here 0.02)`."""
    found = _settings(theirs, ours)
    if theirs.inputs.get("weights") != ours.inputs.get("weights"):
        found.append("the base's weights")
    if theirs.format != ours.format:
        found.append("the version of understudy that made it")
    return found


def _prepared(other: Path, prepared: Path) -> list[str]:
    """What differs between the prepared sets of two runs."""
    theirs = artifacts.read_manifest(_set_of(other) / "manifest.json")
    ours = artifacts.read_manifest(prepared / "manifest.json")
    if theirs is None or ours is None:
        return ["the prepared set"]
    before, now = theirs.identity.inputs, ours.identity.inputs
    names = sorted(before.keys() | now.keys())
    files = [f"the set's {name}" for name in names if before.get(name) != now.get(name)]
    return _settings(theirs.identity, ours.identity) + files


def _set_of(run: Path) -> Path:
    """The prepared set of a run; the run itself, which is none, where that cannot be told."""
    try:
        link = json.loads((run / "inputs.json").read_text(encoding="utf-8"))["prepared"]
    except (OSError, ValueError, KeyError):
        return run
    return run / str(link)


def _settings(theirs: Identity, ours: Identity) -> list[str]:
    before, now = (dict(_leaves(artifacts.record(each.config))) for each in (theirs, ours))
    return [
        f"{key}={_said(before.get(key))} (here {_said(now.get(key))})"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key != SAID_BY_MODEL
    ]


def _leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _said(value: object) -> str:
    return "null" if value is None else str(value)
