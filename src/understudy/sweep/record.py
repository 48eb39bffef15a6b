"""A sweep's folder: where it lies, and what is written into it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.console import warn
from understudy.sweep import figures, picture, table
from understudy.sweep.axis import axes
from understudy.sweep.figures import Figures
from understudy.sweep.job import Entry, Job, State, key, swept
from understudy.sweep.table import PICTURE, TRAIN, Table

FORMAT = 1
ELSEWHERE = ("fresh", "root", "paths.data", "paths.runs")
"""Where things lie and whether they are made anew is no part of what is compared."""
JOBS_FILE = "sweep.json"


def locate(stage: str, jobs: Sequence[Job]) -> tuple[Identity, Path]:
    """Identity and folder of a sweep: its stage, its experiment, and what is swept over what."""
    names = swept(jobs)
    fixed = {one for one in jobs[0].overrides if key(one) not in (*names, *ELSEWHERE)}
    made_of = Identity(
        stage="sweep",
        format=FORMAT,
        config={
            "stage": stage,
            "fixed": sorted(fixed),
            "jobs": [{name: job.values.get(name) for name in names} for job in jobs],
        },
        inputs={},
    )
    corpora = {job.config.corpus for job in jobs}
    name = f"{corpora.pop()}-{stage}" if len(corpora) == 1 else stage
    return made_of, made_of.folder(jobs[0].config.paths.runs, name)


class Record:
    """What lies in the sweep's folder; written anew after each job, so that one can look."""

    def __init__(self, stage: str, jobs: Sequence[Job]) -> None:
        self.stage = stage
        self.identity, self.folder = locate(stage, jobs)
        self.axes = axes(jobs)
        names = swept(jobs)
        self.entries = [
            Entry(job=job, label=" ".join(f"{n}={job.values.get(n, '')}" for n in names))
            for job in jobs
        ]
        self.figures = [Figures()] * len(jobs)
        self._drawn: list[Figures] = []
        self._undrawable = False

    def open(self) -> None:
        """Make the folder ready; what an earlier start knew of its jobs' runs is shown again."""
        (self.folder / "jobs").mkdir(exist_ok=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)
        before = self._before()
        for at, entry in enumerate(self.entries):
            output = before.get(entry.job.number)
            entry.output = self.folder / output if output else None
            self._read(at)

    def _before(self) -> dict[int, str]:
        try:
            found = json.loads((self.folder / JOBS_FILE).read_text(encoding="utf-8"))
            return {job["number"]: job["output"] for job in found["jobs"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def log(self, job: Job) -> Path:
        """Where a job's stderr goes."""
        return self.folder / "jobs" / f"{job.number}.log"

    def _read(self, at: int) -> None:
        if self.stage == TRAIN:
            self.figures[at] = figures.read(self.entries[at].output)

    def write(self, ended: Entry | None = None) -> None:
        """Write table and picture, with new figures of the job that ended and of those running."""
        for at, entry in enumerate(self.entries):
            if entry is ended or entry.state is State.running:
                self._read(at)
        shown = self.table()
        self._draw(shown)
        has_picture = (self.folder / PICTURE).exists()
        page = table.markdown(shown, picture=has_picture)
        artifacts.write_atomic(self.folder / "sweep.md", page)
        artifacts.write_atomic(self.folder / "sweep.csv", table.comma_separated(shown))
        jobs = [
            {
                "number": entry.job.number,
                "overrides": entry.job.overrides,
                "state": entry.state,
                "exit_code": entry.code,
                "output": shown.output(entry),
                "reason": entry.reason,
            }
            for entry in self.entries
        ]
        artifacts.write_json(self.folder / JOBS_FILE, {"stage": self.stage, "jobs": jobs})

    def table(self) -> Table:
        """The sweep as it stands."""
        what = " and ".join(axis.name for axis in self.axes)
        name = self.folder.name.rpartition("-")[0]
        return Table(
            folder=self.folder,
            stage=self.stage,
            title=f"Sweep of {name}" + (f": {what}" if what else ""),
            entries=self.entries,
            axes=self.axes,
            figures=self.figures,
        )

    def _draw(self, shown: Table) -> None:
        """Draw the picture where figures are new."""
        if self.stage != TRAIN or self._undrawable or self._drawn == self.figures:
            return
        try:
            drawn = picture.draw(shown)
        except ImportError:
            self._undrawable = True
            warn(
                f"{PICTURE} is not drawn: matplotlib is not installed here. The table is written. "
                'pip install "understudy[compare]", and the same command again draws it.'
            )
            return
        if drawn is not None:
            artifacts.write_atomic(self.folder / PICTURE, drawn)
        self._drawn = list(self.figures)

    def seal(self) -> None:
        """Every job made its thing: the sweep is finished."""
        files = [path for path in self.folder.glob("sweep.*") if path.is_file()]
        logs = (self.folder / "jobs").glob("*.log")
        artifacts.seal(self.folder / "manifest.json", self.identity, [*files, *logs])
