"""SIGTERM and SIGINT: what is in hand is saved, then the run stops; a second one leaves at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from understudy.console import Exit, Stopped, say, stderr

SIGNALS = (signal.SIGTERM, signal.SIGINT)
TOGETHER = 0.5
"""Seconds within which signals count as one: what stops a job sends one to the process, and another
to the group it belongs to."""
LEAVING = 0.5
"""Most seconds that leaving at once may spend on writing down that it left."""
OVER = 0
"""No signal's number: tells the listener to end."""


class Interrupted(Exception):  # noqa: N818  # an event, not an error
    """A stop was asked for in the middle of something, which will be done again after a resume."""


class Flag:
    """Tells those who do the work that a signal came.

    It is asked by name and has no truth value of its own: `flag or Flag()` would take one that is
    not yet raised for none at all.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.deferred = False

    @property
    def raised(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal is not None

    def defer(self) -> None:
        """From now on there is something to save: a signal is noted here, and raises nothing."""
        self.deferred = True


@contextmanager
def stop_flag(cancelled: Callable[[], None] = lambda: None) -> Iterator[Flag]:
    """Note the first signal in a flag; a second one leaves at once.

    Until `Flag.defer` is called nothing is there to be saved, and the first one raises `Stopped`
    wherever the work is: loading a model may take longer than whoever sent it waits.

    Args:
        cancelled: Called before leaving at once, in another thread; cut off after `LEAVING`.

    Raises:
        Stopped: a signal came while there was nothing to save.
    """
    flag = Flag()

    def note(number: int, _frame: FrameType | None) -> None:
        if flag.raised:
            return
        flag.signal = signal.Signals(number).name
        if not flag.deferred:
            raise Stopped(
                f"stopped by {flag.signal} before the first step: nothing is lost, and the same "
                "command goes on from here."
            )

    with _listening(cancelled):
        previous = {s: signal.signal(s, note) for s in SIGNALS}
        try:
            yield flag
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def _listening(cancelled: Callable[[], None]) -> Iterator[None]:
    """Hear signals in a thread of their own.

    Python runs a handler only between two steps of the main thread, and one backward pass may keep
    that busy for minutes; the number of a signal comes through a pipe at once.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(reader, cancelled), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(writer, bytes([OVER]))
        thread.join()
        os.close(writer)
        os.close(reader)


def _listen(reader: int, cancelled: Callable[[], None]) -> None:
    first: float | None = None
    while True:
        for number in os.read(reader, 64):
            if number == OVER:
                return
            if number not in SIGNALS:
                continue
            now = time.monotonic()
            if first is None:
                first = now
                name = signal.Signals(number).name
                say(f"{name}: saving what is done, then stopping; once more to leave at once")
            elif now - first > TOGETHER:
                _leave(cancelled)


def _leave(cancelled: Callable[[], None]) -> None:
    """End the process, whatever it is in the middle of, and even if a disk no longer answers."""
    guard = threading.Timer(LEAVING, os._exit, (Exit.STOPPED,))
    guard.daemon = True
    guard.start()
    cancelled()
    stderr().show_cursor()
    say("left at once, nothing saved: the same command goes on from the last save")
    os._exit(Exit.STOPPED)
