"""A job's process: started, watched by its log, told to stop, and asked why it failed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from understudy.door import LAUNCHER
from understudy.sweep.devices import VARIABLE
from understudy.sweep.job import Job

TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables by which a log file would be taken for a terminal."""
MOST_LINES = 8
"""Of a reason."""
TAIL_BYTES = 1 << 16
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STEPS = re.compile(r"^(\w+)  ([\d,]+)/([\d,]+) ")
DONE_ALREADY = ": done already"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a job's process runs and writes."""

    stage: str
    log: Path
    device: str | None
    """Its CUDA_VISIBLE_DEVICES; None: as the environment has it."""
    lock: int
    """A file that stays locked as long as the process lives."""


class JobProcess:
    """A running job. Its stderr goes to its log directly: it outlives its launcher by a save."""

    def __init__(self, job: Job, place: Place) -> None:
        self.job = job
        self.place = place
        self.began = time.monotonic()
        self.line = ""
        """The last line of its log."""
        self.already = False
        """Whether it found its thing made."""
        self._first: tuple[float, float] | None = None
        self._share = 0.0
        command = [sys.executable, "-m", place.stage, *job.arguments]
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `end`
        with place.log.open("ab") as log:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            log.write(f"--- {now} python -m {place.stage} {shlex.join(job.arguments)}\n".encode())
            log.flush()
            self._read = self._start = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._stdout,
                stderr=log,
                env=_environment(place.device),
                # Ctrl-C reaches the launcher alone, which passes it on: once, not twice.
                start_new_session=True,
                pass_fds=(place.lock,),
            )

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Seconds left, by the pace of its own progress; None where it shows none yet."""
        if self._first is None:
            return None
        share, at = self._first
        gained = self._share - share
        return (1 - self._share) * (time.monotonic() - at) / gained if gained > 0 else None

    def look(self) -> None:
        """Read what its log has got since."""
        with self.place.log.open("rb") as log:
            log.seek(self._read)
            raw = log.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in _lines(whole):
            self.line = line
            self.already = self.already or DONE_ALREADY in line
            self._note_progress(line)

    def _note_progress(self, line: str) -> None:
        steps = STEPS.match(line)
        if steps is None or steps.group(1) != self.place.stage:
            return
        done, total = (int(count.replace(",", "")) for count in steps.groups()[1:])
        self._share = done / total if total else 0.0
        self._first = self._first or (self._share, time.monotonic())

    def send(self, number: signal.Signals) -> None:
        """Pass a signal on, if it still lives."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> str:
        """The last line of its stdout, once it has ended."""
        self.look()
        self._stdout.seek(0)
        printed = self._stdout.read().decode(errors="replace").split("\n")
        self._stdout.close()
        return next((line for line in reversed(printed) if line.strip()), "")

    def reason(self) -> str:
        """Why it failed: the last message in its log."""
        size = self.place.log.stat().st_size
        with self.place.log.open("rb") as log:
            log.seek(max(self._start, size - TAIL_BYTES))
            said = last_message(_lines(log.read()))
        code = self.process.returncode
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            said = f"ended by {name}{hint}" + (f"; its last line: {self.line}" if said else "")
        return said or "it said nothing"


def _environment(device: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in TERMINAL}
    kept[LAUNCHER] = str(os.getpid())
    if device is not None:
        kept[VARIABLE] = device
    return kept


def _lines(raw: bytes) -> list[str]:
    """Lines that say something, without colours; those that were written over count as lines."""
    lines = re.split(r"[\r\n]+", ESCAPE.sub("", raw.decode(errors="replace")))
    return [line.rstrip() for line in lines if line.strip()]


def last_message(lines: list[str]) -> str:
    """The last message of a log, with the one before where it points there."""
    starts = [at for at, line in enumerate(lines) if re.match(r"[a-z]+: ", line)]
    if not starts:
        return "\n".join(lines[-1:])
    at = starts[-1]
    if "above" in lines[at] and len(starts) > 1:
        at = starts[-2]
    elif "fault in understudy" in lines[at]:
        at = max(at - 1, 0)
    return "\n".join(lines[at : at + MOST_LINES])
