"""A sweep: its jobs run as processes, one at a time on each GPU, and its folder keeps the table.

Nothing here remembers what is done: each job finds its own thing by its identity, done, half done
or not there. So a sweep that was killed anywhere goes on with the same command.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from understudy import artifacts, chain
from understudy.console import Exit, Outcome, RunFailedError, Stopped, UserError, say
from understudy.sweep.devices import devices
from understudy.sweep.job import Entry, Job, State
from understudy.sweep.process import JobProcess, Place
from understudy.sweep.record import Record
from understudy.sweep.screen import Screen, clock
from understudy.sweep.stopping import Stop, listening
from understudy.sweep.table import TRAIN

TICK_SECONDS = 0.1
PATIENCE_SECONDS = 10.0
"""After a second signal; then the jobs are killed."""
MOST_NAMED = 8
"""Jobs that are named where they failed for one reason."""
STATES = {
    Exit.DONE: State.done,
    Exit.IN_PART: State.in_part,
    Exit.GATE_NOT_MET: State.gate_not_met,
    Exit.STOPPED: State.stopped,
}


def run(stage: str, jobs: Sequence[Job]) -> Outcome:
    """Run every job, and write the table.

    Raises:
        UserError: the sweep is being run already, or every job's input is wrong.
        RunFailedError: every job failed.
        Stopped: a signal came, or a job was stopped; the same command goes on.
    """
    record = Record(stage, jobs)
    with artifacts.exclusive(record.folder), _alone(record.folder) as lock:
        with listening() as stop:
            sweep = Sweep(record, devices(stage), lock, stop)
            sweep.run()
        return _ended(record, stop)


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """A locked file that every job inherits: where a launcher was killed, its jobs still hold it.

    A job whose launcher dies saves and stops, which takes a while.
    """
    with (folder / ".jobs").open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("sweep: waiting for a job of an earlier start to save and stop")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


class Sweep:
    """The jobs under way."""

    def __init__(
        self, record: Record, devices: Sequence[str | None], lock: int, stop: Stop
    ) -> None:
        self.record = record
        self.free = list(devices)
        self.lock = lock
        self.stop = stop
        self.waiting = list(record.entries)
        self.running: list[tuple[Entry, JobProcess]] = []
        self.screen = Screen(record.entries, len(devices))
        self.told = 0
        """Signals that the jobs have been passed."""
        self.told_at = 0.0

    def run(self) -> None:
        """Start jobs as GPUs get free, until all have ended or a stop is asked for."""
        self.record.open()
        self.record.write()
        several = f", {len(self.free)} at once" if len(self.free) > 1 else ""
        say(f"sweep: {len(self.waiting)} jobs{several}: {self.record.folder}")
        try:
            with self.screen:
                while self.running or (self.waiting and not self.stop):
                    self._start()
                    self._pass_on()
                    self._look()
                    self.screen.show([process for _, process in self.running])
                    time.sleep(TICK_SECONDS)
        finally:
            # Only a fault of ours comes here with jobs running: none may go on unseen.
            for _, process in self.running:
                process.send(signal.SIGTERM)

    def _start(self) -> None:
        while self.free and self.waiting and not self.stop:
            entry, device = self.waiting.pop(0), self.free.pop(0)
            entry.state, entry.code, entry.reason = State.running, None, ""
            if self.record.stage == TRAIN:
                entry.output = _run_folder(entry.job)
            place = Place(
                stage=self.record.stage,
                log=self.record.log(entry.job),
                device=device,
                lock=self.lock,
            )
            self.running.append((entry, JobProcess(entry.job, place)))

    def _pass_on(self) -> None:
        """Hand signals on; jobs that do not heed a second one are killed."""
        while self.told < self.stop.signals:
            self.told += 1
            self.told_at = time.monotonic()
            for _, process in self.running:
                process.send(signal.SIGTERM)
            if self.told == 1:
                self.screen.say(
                    f"{self.stop.name}: waiting for {len(self.running)} running job(s) to save; "
                    "once more to leave at once"
                )
        if self.told > 1 and time.monotonic() - self.told_at > PATIENCE_SECONDS:
            for _, process in self.running:
                process.send(signal.SIGKILL)

    def _look(self) -> None:
        for entry, process in list(self.running):
            process.look()
            if process.process.poll() is not None:
                self.running.remove((entry, process))
                self.free.append(process.place.device)
                self._end(entry, process)

    def _end(self, entry: Entry, process: JobProcess) -> None:
        output, code = process.end(), process.process.returncode
        entry.code = code
        entry.state = STATES.get(Exit(code) if code in list(Exit) else Exit.FAILED, State.failed)
        if entry.state is State.failed and self.stop and code < 0:
            entry.state = State.stopped
        if entry.state is State.failed:
            entry.reason = process.reason()
        if entry.state.made and output:
            entry.output = Path(output)
        self.screen.end(process)
        self.record.write(entry)
        self.screen.say(self._line(entry, process))

    def _line(self, entry: Entry, process: JobProcess) -> str:
        place = self.record.entries.index(entry)
        final = self.record.figures[place].final
        parts = (
            f"[{entry.job.number}/{len(self.record.entries)}] {entry.state.value}",
            "already" if process.already else f"after {clock(process.seconds)}",
            entry.label,
            f"held-out loss {final:.4f}" if final is not None and entry.state.made else "",
            entry.reason.splitlines()[0] if entry.reason else "",
        )
        return "  ".join(part for part in parts if part)


def _run_folder(job: Job) -> Path | None:
    """Where a training job writes; None where its input is wrong, which it says itself."""
    try:
        return chain.run_folder(job.config)
    except (ValueError, OSError):
        return None


def _ended(record: Record, stop: Stop) -> Outcome:
    """How the sweep ended as a whole; its manifest where every job made its thing."""
    entries = record.entries
    say(f"sweep: table: {record.folder / 'sweep.md'}")
    if stop or any(entry.state is State.stopped for entry in entries):
        raise Stopped(_stopped(entries, stop))
    failed = [entry for entry in entries if entry.state is State.failed]
    if not failed:
        record.seal()
        codes = {entry.code for entry in entries}
        graver = (Exit.GATE_NOT_MET, Exit.IN_PART)
        return Outcome(record.folder, next((code for code in graver if code in codes), Exit.DONE))
    head = f"{len(failed)} of {len(entries)} jobs failed:"
    message = "\n".join([head, *_failures(record, failed)])
    if len(failed) < len(entries):
        say(f"{record.stage}: {message}\nThe same command tries them again; the others are done.")
        return Outcome(record.folder, Exit.IN_PART)
    if all(entry.code == Exit.WRONG_INPUT for entry in failed):
        raise UserError(message)
    raise RunFailedError(message)


def _failures(record: Record, failed: Sequence[Entry]) -> list[str]:
    """What failed and why; jobs that failed for one reason share it."""
    alike: dict[tuple[str, int | None], list[Entry]] = {}
    for entry in failed:
        alike.setdefault((entry.reason, entry.code), []).append(entry)
    lines = []
    for (reason, code), entries in alike.items():
        named = [_named(entry) for entry in entries[:MOST_NAMED]]
        more = [f"{len(entries) - MOST_NAMED} more"] if len(entries) > MOST_NAMED else []
        ended = f", exit {code}" if code is not None and code > 0 else ""
        log = os.path.relpath(record.log(entries[0].job))
        indented = reason.replace("\n", "\n    ")
        lines.append(f"  job {', '.join([*named, *more])}{ended}, see {log}:\n    {indented}")
    return lines


def _named(entry: Entry) -> str:
    return f"{entry.job.number} ({entry.label})" if entry.label else str(entry.job.number)


def _stopped(entries: Sequence[Entry], stop: Stop) -> str:
    done = [str(entry.job.number) for entry in entries if entry.state.made]
    failed = [str(entry.job.number) for entry in entries if entry.state is State.failed]
    parts = [f"{len(done)} of {len(entries)} jobs done" + (f" ({', '.join(done)})" if done else "")]
    if failed:
        parts.append(f"{len(failed)} failed ({', '.join(failed)})")
    fresh = any(entry.job.config.fresh for entry in entries)
    goes_on = "without fresh=true goes on" if fresh else "goes on"
    by = f"stopped by {stop.name}" if stop else "a job was stopped"
    return f"{by}: {', '.join(parts)}; the same command {goes_on} from here."
