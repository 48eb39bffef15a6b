"""Which plan of memory a run takes: what config fixes, what was written down, what a trial finds.

`memory.json` in the run's folder has the plan, what it was chosen on and what else was tried. A run
that goes on takes it again, so that its sums are made in the same order.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.console import say, warn
from understudy.train import layout, meter, recompute, rng
from understudy.train.memory import MemoryPlan, agrees, plainest
from understudy.train.training import Training
from understudy.train.trial import Trial

MEMORY_FILE = "memory.json"


def settle(trial: Training) -> Training:
    """The run under its plan, the model set to it, and the plan written down.

    Args:
        trial: The run with an optimiser of its own, whose state and gradients are there. Weights
            and random generators stay as they are, to the bit.

    Raises:
        UserError: no plan fits; the message says what to lower.
    """
    blocks = len(recompute.blocks(trial.model))
    plan = _plan(trial, blocks)
    recompute.apply(trial.model, plan)
    if plan.packing and trial.processes.first:
        size = plan.line_tokens or trial.config.model.context
        say(f"train: {layout.packing_note(trial.steps, trial.data.train, size)}")
    return replace(trial, memory=plan)


def _plan(trial: Training, blocks: int) -> MemoryPlan:
    config = trial.config.memory
    if config.fixed:
        plan = plainest(config, blocks)
        _write(trial, plan, {"tried": []})
        return plan
    room = min(trial.processes.gather(meter.room(config, trial.processes.count)))
    written = trial.processes.gather(_written(trial, blocks, room))[0]
    if written is not None:
        say(f"train: memory: {written.told(blocks)}, as {MEMORY_FILE} says")
        return written
    meter.say_if_blind()
    began = time.monotonic()
    with rng.given_back():
        attempt = Trial(trial, room)
        plan = attempt.choose()
    meter.forget()
    seconds = time.monotonic() - began
    timed = sum(one.tokens_per_second is not None for one in attempt.tried)
    say(
        f"train: memory: {plan.told(blocks)}: the fastest of {timed} timed that fit "
        f"{room / meter.GIB:.1f} GiB; found in {seconds:.1f} s, written to {MEMORY_FILE}"
    )
    found = {"room_bytes": room, "seconds": round(seconds, 2), "tried": attempt.tried}
    _write(trial, plan, found)
    return plan


def _chosen_on(trial: Training) -> dict[str, Any]:
    """What a plan holds for: where one of these differs, it is chosen anew."""
    memory = trial.config.memory
    return {
        "device": meter.device(),
        "processes": trial.processes.count,
        "budget_gib": memory.budget_gib,
        "attention": memory.attention.value,
    }


def _write(trial: Training, plan: MemoryPlan, found: dict[str, Any]) -> None:
    if trial.processes.first:
        record = {"plan": plan, "chosen_on": _chosen_on(trial), **found}
        artifacts.write_json(trial.folder / MEMORY_FILE, record)


def _written(trial: Training, blocks: int, room: int) -> MemoryPlan | None:
    """The plan written down, where it still holds; why it does not is said."""
    path = trial.folder / MEMORY_FILE
    if not path.exists():
        return None
    try:
        plan, chosen_on, peak = _read(path)
    except (OSError, ValueError, KeyError, TypeError):
        warn(f"{path} cannot be read: memory's settings are chosen anew")
        return None
    now = _chosen_on(trial)
    differing = [
        f"{name} {chosen_on.get(name)}, now {value}"
        for name, value in now.items()
        if chosen_on.get(name) != value
    ]
    if not agrees(plan, trial.config.memory, blocks):
        differing.append(f"it was {plan.told(blocks)}, and config now says otherwise")
    if peak is not None and peak > room:
        free = f"{room / meter.GIB:.1f} GiB can be had now"
        differing.append(f"its plan takes {peak / meter.GIB:.1f} GiB, and {free}")
    if differing:
        say(f"train: {MEMORY_FILE} does not hold any more ({'; '.join(differing)}): chosen anew")
        return None
    return plan


def _read(path: Path) -> tuple[MemoryPlan, dict[str, Any], int | None]:
    """The plan, what it was chosen on, and what it took; None where that was not measured."""
    record = json.loads(path.read_text(encoding="utf-8"))
    plan = MemoryPlan(**record["plan"])
    peaks = [each["peak_bytes"] for each in record["tried"] if each["plan"] == record["plan"]]
    return plan, dict(record["chosen_on"]), peaks[0] if peaks else None
