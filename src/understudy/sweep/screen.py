"""What a person sees of a running sweep: which job, how long so far, how long still."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.text import Text

from understudy.console import stderr
from understudy.sweep.job import Entry
from understudy.sweep.process import JobProcess

PLAIN_SECONDS = 30.0
"""Without a terminal a line is written this often; each job's own log has more."""
SMALLEST = 1.0
"""Seconds; jobs that found their thing made do not count for the time left."""


class Screen:
    """On a terminal some lines that are written over, elsewhere a line now and then."""

    def __init__(self, entries: Sequence[Entry], at_once: int) -> None:
        self.total = len(entries)
        self.at_once = at_once
        self.ended = 0
        self.took: list[float] = []
        """Seconds of the jobs that had something to do."""
        self.began = self.shown = time.monotonic()
        self.labels = {entry.job.number: entry.label for entry in entries}
        self.stack = ExitStack()
        self.live: Live | None = None

    def __enter__(self) -> Self:
        console = stderr()
        if console.is_terminal:
            live = Live(console=console, auto_refresh=False, transient=True)
            self.live = self.stack.enter_context(live)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stack.__exit__(kind, error, trace)

    def say(self, message: str) -> None:
        """A line that stays."""
        console = self.live.console if self.live else stderr()
        console.print(Text(message))

    def end(self, process: JobProcess) -> None:
        """Count a job as ended."""
        self.ended += 1
        if not process.already and process.seconds > SMALLEST:
            self.took.append(process.seconds)

    def show(self, running: Sequence[JobProcess]) -> None:
        """Show how the running jobs stand."""
        if self.live is not None:
            lines = [self._sweep(running), *(self._job(process) for process in running)]
            self.live.update(
                Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True
            )
        elif time.monotonic() - self.shown >= PLAIN_SECONDS:
            self.shown = time.monotonic()
            self.say("  ".join([self._sweep(running), *(self._job(each) for each in running)]))

    def _sweep(self, running: Sequence[JobProcess]) -> str:
        left = self._left(running)
        parts = (
            f"sweep  {self.ended}/{self.total} jobs",
            f"{clock(time.monotonic() - self.began)} so far",
            "" if left is None else f"about {clock(left)} left",
        )
        return "  ".join(part for part in parts if part)

    def _job(self, process: JobProcess) -> str:
        number = process.job.number
        device = f" on {process.place.device}" if process.place.device else ""
        head = f"[{number}/{self.total}{device} {clock(process.seconds)}]"
        return " ".join(part for part in (head, self.labels[number], "|", process.line) if part)

    def _left(self, running: Sequence[JobProcess]) -> float | None:
        """Seconds: what the running jobs have left, and the others at the mean of those done."""
        now = [process.left for process in running]
        whole = [
            process.seconds + left
            for process, left in zip(running, now, strict=True)
            if left is not None
        ]
        took = self.took or whole
        if not took:
            return None
        mean = sum(took) / len(took)
        lefts = [
            max(mean - process.seconds, 0) if left is None else left
            for process, left in zip(running, now, strict=True)
        ]
        waiting = self.total - self.ended - len(running)
        return (sum(lefts) + waiting * mean) / self.at_once


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
