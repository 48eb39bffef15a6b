"""SIGTERM and SIGINT: what is in hand is saved, then the run stops."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from understudy.console import Exit, say


class Interrupted(Exception):  # noqa: N818  # an event, not an error
    """A stop was asked for in the middle of something, which will be done again after a resume."""


class Flag:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_flag(cancelled: Callable[[], None] = lambda: None) -> Iterator[Flag]:
    """Note the first signal in a flag; a second one leaves at once.

    Args:
        cancelled: Called before leaving at once; must not take long.
    """
    flag = Flag()

    def note(number: int, _frame: FrameType | None) -> None:
        if flag:
            cancelled()
            os._exit(Exit.STOPPED)
        flag.signal = signal.Signals(number).name
        say(f"{flag.signal}: saving, then stopping; once more to leave at once")

    previous = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
