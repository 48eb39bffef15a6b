"""One job of a sweep: what it runs, and how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from understudy.config import Config


class State(Enum):
    """How a job stands, as the table says it."""

    waiting = "waiting"
    running = "running"
    done = "done"
    in_part = "done in part"
    gate_not_met = "gate not met"
    stopped = "stopped"
    """By a signal: the same command goes on."""
    failed = "failed"

    @property
    def made(self) -> bool:
        """Whether the job's thing is there."""
        return self in (State.done, State.in_part, State.gate_not_met)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What a job runs."""

    number: int
    """Counted from 1."""
    overrides: tuple[str, ...]
    """The config's overrides, `key=value`."""
    arguments: tuple[str, ...]
    """What stands after `python -m <stage>`: the overrides, and Hydra's own flags before them."""
    config: Config

    @property
    def values(self) -> dict[str, str]:
        """Overrides by key, without the `+` of those that add."""
        return {key(override): override.partition("=")[2] for override in self.overrides}


def key(override: str) -> str:
    """The key of an override: `experiment` of `+experiment=demo`."""
    return override.partition("=")[0].lstrip("+~")


def swept(jobs: Sequence[Job]) -> tuple[str, ...]:
    """Keys whose values differ from job to job, in the order they were typed."""
    values = [job.values for job in jobs]
    names = dict.fromkeys(name for each in values for name in each)
    return tuple(name for name in names if len({each.get(name) for each in values}) > 1)


@dataclass(kw_only=True, slots=True)
class Entry:
    """A job in the table."""

    job: Job
    label: str
    """The job's swept values: `adapter.r=4 optim.lr=0.001`."""
    state: State = State.waiting
    code: int | None = None
    """How its process ended; below 0: the number of the signal that ended it."""
    output: Path | None = None
    """What it made, or is making."""
    reason: str = ""
    """Why it failed."""
