"""What is done one after the other, within the time there is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from card.codes import DONE, FAILED, IN_PART

Work = Callable[[float], dict[str, Any]]
"""A part: gets the seconds it may take, returns its figures."""


class PartFailedError(Exception):
    """A part did not come out as it must; the message is for a person."""


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"gpu: {text}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Parts:
    """What was done, what failed, what was left out, within the time there is."""

    seconds: float
    changed: Callable[[list[dict[str, Any]]], None] = lambda _done: None
    """Called after each part."""
    began: float = field(default_factory=time.monotonic)
    done: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.seconds - (time.monotonic() - self.began)

    def take(
        self,
        name: str,
        work: Work,
        *,
        least: float,
        most: float,
        needs: str | None = None,
    ) -> None:
        """Do a part, or say why not.

        Args:
            name: What it is called.
            work: What is done.
            least: With fewer seconds left it is not begun.
            most: Its time limit in seconds.
            needs: Name of a part without which it makes no sense.
        """
        if needs is not None and self.state(needs) != "passed":
            self._leave_out(name, f"{needs} did not pass")
            return
        if self.left < least:
            self._leave_out(name, f"{max(0, self.left):.0f} s left, {least:.0f} s needed")
            return
        limit = min(most, self.left)
        say(f"{name} (at most {limit:.0f} s)")
        began = time.monotonic()
        try:
            figures = {"state": "passed", **work(limit)}
        except (PartFailedError, OSError, ValueError, LookupError) as error:
            figures = {"state": "failed", "error": f"{error}" or type(error).__name__}
        seconds = round(time.monotonic() - began, 1)
        self.done.append({"name": name, "seconds": seconds, **figures})
        self.changed(self.done)
        say(f"{name}: {figures['state']}, {seconds} s {figures.get('error', '')}".rstrip())

    def _leave_out(self, name: str, why: str) -> None:
        self.done.append({"name": name, "seconds": 0.0, "state": "left out", "error": why})
        self.changed(self.done)
        say(f"{name}: LEFT OUT: {why}")

    def state(self, name: str) -> str:
        """How a part came out."""
        return next(str(part["state"]) for part in self.done if part["name"] == name)

    @property
    def code(self) -> int:
        """1: something failed; 3: something was left out for lack of time; else 0."""
        states = {part["state"] for part in self.done}
        return FAILED if "failed" in states else IN_PART if "left out" in states else DONE
