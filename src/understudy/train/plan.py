"""The batch plan: which rows make which step. Seeded, written down, the same on every machine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.config.optim import OptimConfig
from understudy.config.schedule import ScheduleConfig
from understudy.console import UserError
from understudy.records import jsonl

PLAN_FILE = "plan.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One optimiser step."""

    number: int
    """Counted from 1."""
    epoch: int
    """Counted from 1."""
    rows: tuple[int, ...]
    """Row numbers in the training set."""
    ends_epoch: bool
    epochs_done: float
    """Epochs done after it, with the part of the one under way by rows."""


def plan(supervised: Sequence[int], optim: OptimConfig, epochs: int, seed: int) -> list[Step]:
    """Every row once in each epoch, in a new order each time; an epoch's last step may be smaller.

    The order comes from Python's own generator, whose shuffle is the same on every platform.

    Args:
        supervised: Learned tokens of each row.
        optim: How many rows or tokens make a step.
        epochs: Passes over the rows.
        seed: Seed of the order.
    """
    steps: list[Step] = []
    for epoch in range(1, epochs + 1):
        order = list(range(len(supervised)))
        random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311  # an order, not a secret
        seen = 0
        for group in _grouped(order, supervised, optim):
            seen += len(group)
            steps.append(
                Step(
                    number=len(steps) + 1,
                    epoch=epoch,
                    rows=tuple(group),
                    ends_epoch=seen == len(order),
                    epochs_done=round(epoch - 1 + seen / len(order), 6),
                )
            )
    return steps


def _grouped(
    order: Sequence[int], supervised: Sequence[int], optim: OptimConfig
) -> Iterator[list[int]]:
    group: list[int] = []
    size = 0
    wanted = optim.rows_per_step or optim.tokens_per_step
    assert wanted is not None
    for row in order:
        group.append(row)
        size += 1 if optim.rows_per_step else supervised[row]
        if size >= wanted:
            yield group
            group, size = [], 0
    if group:
        yield group


def write_down(folder: Path, steps: Sequence[Step]) -> None:
    """Write the plan beside the run, for a person to read and for `agree` to hold it to."""
    jsonl.write(folder / PLAN_FILE, (_record(step) for step in steps))


def agree(folder: Path, steps: Sequence[Step]) -> None:
    """Check that a run goes on by the plan it began with.

    Raises:
        UserError: the plan in the folder is another one, or is gone.
    """
    path = folder / PLAN_FILE
    written = jsonl.read_whole(path) if path.is_file() else []
    if written != [_record(step) for step in steps]:
        raise UserError(
            f"{path} is not the plan that this config and this prepared set make: a resumed run "
            "would see other rows. Put the file back, or start over with fresh=true."
        )


def _record(step: Step) -> dict[str, object]:
    return {"step": step.number, "epoch": step.epoch, "rows": list(step.rows)}


def warmup_steps(config: ScheduleConfig, steps: int) -> int:
    """Steps of linear warm-up."""
    if config.warmup_share is not None:
        return round(config.warmup_share * steps)
    return config.warmup_steps or 0
