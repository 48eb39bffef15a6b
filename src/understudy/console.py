"""What a person sees: messages and progress on stderr, one line on stdout, exit codes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_INTERVAL_SECONDS = 5.0


class Exit(IntEnum):
    """How a command ended; every door and every tool uses these."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    IN_PART = 3
    GATE_NOT_MET = 4
    STOPPED = 75


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended."""

    path: Path
    """What it made: the one line of stdout."""
    code: Exit = Exit.DONE


class UserError(ValueError):
    """What a person can mend: the message says what was given, what is allowed, what to do."""


class RunFailedError(RuntimeError):
    """The work itself failed, and the message says why: no traceback helps further. Exit 1."""


class Stopped(BaseException):  # a stop is an event, not an error
    """SIGTERM or SIGINT arrived and the work was left resumable."""


def speaks() -> bool:
    """Whether this process talks: of several that train together only the first does."""
    return os.environ.get("RANK", "0") == "0"


def stderr() -> Console:
    """The console for people; a new one each time, so that a redirected stderr is honoured."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True, quiet=not speaks())


def say(message: str) -> None:
    """Tell the person something, on stderr, as it stands (no markup)."""
    stderr().print(message, markup=False)


def warn(message: str) -> None:
    """Tell the person something they should act on or know about."""
    stderr().print(Text(f"warning: {message}", style="yellow"))


def made(path: Path) -> None:
    """Print the one line of stdout: the path of what was made."""
    if speaks():
        sys.stdout.write(f"{path}\n")
        sys.stdout.flush()


class _Rate(ProgressColumn):
    """Units per second over the recent past."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {self.unit}/s")


class Bar:
    """Progress over a known amount of work; call `advance` as it gets done."""

    def __init__(self, label: str, total: float, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0.0
        self.note = ""

    def advance(self, amount: float = 1, *, note: str | None = None) -> None:
        """Count `amount` more as done; `note` is a short text shown beside the bar."""
        self.done += amount
        self.note = self.note if note is None else note


class _TerminalBar(Bar):
    def __init__(self, label: str, total: float, unit: str, progress: Progress) -> None:
        super().__init__(label, total, unit)
        self.progress = progress
        self.task = progress.add_task(label, total=total, note="")

    def advance(self, amount: float = 1, *, note: str | None = None) -> None:
        super().advance(amount, note=note)
        self.progress.update(self.task, advance=amount, note=self.note)


class _PlainBar(Bar):
    """Without a terminal: a plain line now and then, and one at the end."""

    def __init__(self, label: str, total: float, unit: str, *, done: float) -> None:
        super().__init__(label, total, unit)
        self.done = self.before = done
        self.started = self.shown = time.monotonic()

    def advance(self, amount: float = 1, *, note: str | None = None) -> None:
        super().advance(amount, note=note)
        now = time.monotonic()
        if self.done >= self.total or now - self.shown >= PLAIN_INTERVAL_SECONDS:
            self.shown = now
            say(self.line(now - self.started))

    def line(self, elapsed: float) -> str:
        """`train  12/40 steps  0.8 steps/s  35 s left  loss 2.31`."""
        rate = (self.done - self.before) / elapsed if elapsed > 0 else 0.0
        left = f"{(self.total - self.done) / rate:.0f} s left" if rate > 0 else ""
        count = f"{self.done:,.0f}/{self.total:,.0f} {self.unit}"
        parts = (self.label, count, f"{rate:.2f} {self.unit}/s", left, self.note)
        return "  ".join(part for part in parts if part)


@contextmanager
def progress(label: str, total: float, unit: str, *, done: float = 0) -> Iterator[Bar]:
    """A bar with rate and time left on a terminal, plain lines elsewhere.

    Args:
        label: What is going on, one word or two.
        total: Amount of work, in `unit`.
        unit: Plural noun of what is counted.
        done: Amount done in an earlier run of the same work; it does not count in the rate.
    """
    console = stderr()
    if not console.is_terminal:
        yield _PlainBar(label, total, unit, done=done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as shown:
        bar = _TerminalBar(label, total, unit, shown)
        shown.update(bar.task, completed=done)
        yield bar
