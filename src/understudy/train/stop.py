"""SIGTERM and SIGINT: the step in hand is finished and saved, then the run stops."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from understudy.console import Exit, say


class Flag:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_flag() -> Iterator[Flag]:
    """Note the first signal in a flag; a second one leaves at once."""
    flag = Flag()

    def note(number: int, _frame: FrameType | None) -> None:
        if flag:
            os._exit(Exit.STOPPED)
        flag.signal = signal.Signals(number).name
        say(f"{flag.signal}: finishing this step and saving; once more to leave at once")

    previous = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
