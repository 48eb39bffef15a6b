"""Processes that are started here, watched, and ended with all they started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from card.codes import DONE
from card.parts import PartFailedError

SCRIPT = Path(__file__).resolve().parent.parent / "gpu.py"


def environment(**more: str) -> dict[str, str]:
    """Offline, and with a PYTHONPATH that holds from any folder."""
    paths = os.environ.get("PYTHONPATH", "")
    absolute = os.pathsep.join(str(Path(p).resolve()) for p in paths.split(os.pathsep) if p)
    known = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **({"PYTHONPATH": absolute} if absolute else {}), **known, **more}


class Child:
    """A process of ours: its stderr is passed on line by line, with the time of each kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.began = time.monotonic()
        self.process = process
        self.lines: list[tuple[float, str]] = []
        self.out: list[str] = []
        readers = ((self._read_out, process.stdout), (self._read_err, process.stderr))
        self._threads = [
            threading.Thread(target=read, args=(stream,), daemon=True) for read, stream in readers
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def python(cls, arguments: Sequence[str], folder: Path, **more: str) -> Child:
        """A new interpreter in a group of its own, so that what it starts ends with it."""
        return cls(
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )

    def _read_out(self, stream: IO[str]) -> None:
        self.out += [line.rstrip("\n") for line in stream]

    def _read_err(self, stream: IO[str]) -> None:
        for line in stream:
            self.lines.append((time.monotonic() - self.began, line.rstrip("\n")))
            print(f"  | {line.rstrip()}", file=sys.stderr, flush=True)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.began

    def second(self, words: str) -> float | None:
        """When a line with these words came, in seconds after the start."""
        return next((at for at, line in self.lines if words in line), None)

    def said(self, words: str) -> bool:
        """Whether a line with these words came."""
        return self.second(words) is not None

    def wait(self, limit: float) -> int:
        """Its exit code.

        Raises:
            PartFailedError: it has not ended when it is `limit` seconds old; it is killed.
        """
        try:
            self.process.wait(max(0.1, limit - self.age))
        except subprocess.TimeoutExpired:
            self.kill()
            raise PartFailedError(f"it did not end within {limit:.0f} s") from None
        self._finish()
        return self.process.returncode

    def must_end(self, code: int, limit: float) -> None:
        """Wait for it, and hold it to an exit code.

        Raises:
            PartFailedError: it ended otherwise, or not in time.
        """
        found = self.wait(limit)
        if found != code:
            last = " / ".join(line for _, line in self.lines[-3:])
            raise PartFailedError(f"it ended with {found}, not {code}: {last}")

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._finish()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        if self.running:
            os.kill(self.process.pid, number)

    def _finish(self) -> None:
        # What it started may live on and hold the pipes: its end is enough.
        for thread in self._threads:
            thread.join(timeout=5)


def apart(name: str, folder: Path, limit: float, *given: str) -> dict[str, Any]:
    """The script's `--part` in a process of its own, so that no GPU memory stays behind."""
    child = Child.python([str(SCRIPT), "--part", name, *given], folder)
    try:
        child.must_end(DONE, limit)
    finally:
        child.kill()
    return dict(json.loads(child.out[-1]))
