"""Sweeps as a person types them: the launcher in a new interpreter, its jobs in others."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from doors import Ended

from understudy.config import Config
from understudy.sweep.axis import axes
from understudy.sweep.figures import Curve, Figures
from understudy.sweep.job import Entry, Job, State, swept
from understudy.sweep.table import Table


class Launched:
    """A running `python -m <stage> -m ...`."""

    def __init__(
        self, cwd: Path, stage: str, overrides: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self.streams = [cwd / ".stdout", cwd / ".stderr"]
        with self.streams[0].open("w") as out, self.streams[1].open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", stage, "-m", *overrides],
                cwd=cwd,
                stdout=out,
                stderr=err,
                process_group=0,
                # Tiny models want no threads: they would only wait for each other.
                env={**os.environ, "OMP_NUM_THREADS": "1", **env},
            )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, timeout: float = 300) -> Ended:
        code = self.process.wait(timeout)
        out, err = (stream.read_text() for stream in self.streams)
        return Ended(code, out, err)


def until(holds: Callable[[], object], seconds: float = 120) -> None:
    """Wait until something holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it did not come"
        time.sleep(0.02)


def sweep_folder(root: Path) -> Path:
    """The only sweep below a root."""
    (found,) = (root / "runs" / "sweep").iterdir()
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    """The table, by the names of its columns."""
    with (folder / "sweep.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def made_up(folder: Path, config: Config, jobs: Sequence[tuple[str, ...]]) -> Table:
    """A table of training jobs that ended well: job 1 has a loss of 2.1, job 2 of 2.2, ..."""
    made = [
        Job(number=number, overrides=overrides, arguments=overrides, config=config)
        for number, overrides in enumerate(jobs, start=1)
    ]
    names = swept(made)
    entries = [
        Entry(
            job=job,
            label=" ".join(f"{name}={job.values[name]}" for name in names),
            state=State.done,
            output=folder.parent.parent / "train" / f"run-{job.number}",
        )
        for job in made
    ]
    losses = [2 + job.number / 10 for job in made]
    return Table(
        folder=folder,
        stage="train",
        title="Sweep",
        entries=entries,
        axes=axes(made),
        figures=[
            Figures(
                final=loss + 0.05,
                best=loss,
                base=3.0,
                train_loss=1.5,
                seconds=12.5,
                peak_memory_bytes=3 << 30,
                held_out=Curve(epochs=(0, 1, 2), values=(3.0, loss, loss + 0.05)),
                train=Curve(epochs=(0.5, 1, 1.5, 2), values=(2.9, 2.5, 2.0, 1.5)),
            )
            for loss in losses
        ],
    )
