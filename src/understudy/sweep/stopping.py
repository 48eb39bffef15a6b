"""SIGTERM and SIGINT during a sweep: passed on to the running jobs, which save."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Stop:
    """How often a stop was asked for."""

    signals: int = 0
    name: str = ""
    """Of the first signal."""

    def __bool__(self) -> bool:
        return self.signals > 0


@contextmanager
def listening() -> Iterator[Stop]:
    """Count signals instead of dying of them."""
    stop = Stop()

    def note(number: int, _frame: FrameType | None) -> None:
        stop.signals += 1
        stop.name = stop.name or signal.Signals(number).name

    previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
