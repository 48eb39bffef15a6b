"""The table of a sweep: Markdown for a person, CSV for a program."""

from __future__ import annotations

import csv
import io
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.sweep import figures
from understudy.sweep.axis import SEED, Axis
from understudy.sweep.figures import Figures
from understudy.sweep.job import Entry, State

PICTURE = "sweep.png"
TRAIN = "train"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A sweep as it stands."""

    folder: Path
    stage: str
    title: str
    entries: Sequence[Entry]
    axes: Sequence[Axis]
    figures: Sequence[Figures]
    """By job; empty ones for stages that do not train."""

    @property
    def best(self) -> int | None:
        """Place of the best job in the list."""
        return figures.best(self.figures)

    def output(self, entry: Entry) -> str:
        """What a job made, relative to the sweep's folder."""
        return "" if entry.output is None else os.path.relpath(entry.output, self.folder)


def markdown(table: Table, *, picture: bool) -> str:
    """The whole page.

    Args:
        table: What to show.
        picture: Whether `sweep.png` lies beside it.
    """
    train = table.stage == TRAIN
    parts = [f"# {table.title}", _standing(table), _train(table) if train else _others(table)]
    if train:
        parts += [_best(table), _over_seeds(table)]
    if picture:
        parts.append(f"![Held-out loss by swept value, and the curves of all jobs]({PICTURE})")
    failed = [entry for entry in table.entries if entry.reason]
    if failed:
        parts.append("## What failed")
        parts += [_failure(entry) for entry in failed]
    return "\n\n".join(part for part in parts if part) + "\n"


def _standing(table: Table) -> str:
    counts = [(state, sum(e.state is state for e in table.entries)) for state in State]
    said = ", ".join(f"{count} {state.value}" for state, count in counts if count)
    return f"{len(table.entries)} jobs of `{table.stage}`: {said}."


def _train(table: Table) -> str:
    head = [
        "job",
        *(axis.name for axis in table.axes),
        "state",
        "held-out loss",
        "best",
        "perplexity",
        "train loss",
        "seconds",
        "peak GiB",
        "run",
    ]
    rows = []
    for at, (entry, found) in enumerate(zip(table.entries, table.figures, strict=True)):
        marked = at == table.best
        peak = found.peak_memory_bytes
        row = [
            str(entry.job.number),
            *_values(entry, table.axes),
            entry.state.value,
            _said(found.final, 4),
            _said(found.best, 4),
            _said(found.perplexity, 2),
            _said(found.train_loss, 4),
            _said(found.seconds, 1),
            _said(None if peak is None else peak / 2**30, 2),
            _link(table.output(entry)),
        ]
        *cells, link = row
        rows.append([*(f"**{cell}**" if marked and cell else cell for cell in cells), link])
    return _grid(head, rows, words=len(table.axes) + 2)


def _others(table: Table) -> str:
    head = ["job", *(axis.name for axis in table.axes), "state", "output"]
    rows = [
        [
            str(entry.job.number),
            *_values(entry, table.axes),
            entry.state.value,
            _link(table.output(entry)),
        ]
        for entry in table.entries
    ]
    return _grid(head, rows, words=len(head))


def _best(table: Table) -> str:
    at = table.best
    if at is None:
        return "No job has a held-out loss yet."
    entry, found = table.entries[at], table.figures[at]
    against = f"; the base model is at {found.base:.4f}" if found.base is not None else ""
    label = f" (`{entry.label}`)" if entry.label else ""
    return (
        f"Best: job {entry.job.number}{label}, held-out loss {_said(found.best, 4)}{against}. "
        "Held-out loss is `full_valid_loss`, nats per token, at the end; `best` is its lowest at "
        "an epoch's end. Seconds are those of the training steps."
    )


def _over_seeds(table: Table) -> str:
    """Mean and spread of the best loss where seeds repeat the other settings."""
    others = [axis for axis in table.axes if axis.name != SEED]
    if len(others) == len(table.axes) or not others:
        return ""
    groups: dict[tuple[str, ...], list[float]] = {}
    for entry, found in zip(table.entries, table.figures, strict=True):
        if found.best is not None:
            groups.setdefault(tuple(_values(entry, others)), []).append(found.best)
    rows = [
        [
            *values,
            str(len(losses)),
            f"{statistics.mean(losses):.4f}",
            f"{statistics.stdev(losses):.4f}" if len(losses) > 1 else "",
            f"{min(losses):.4f}",
            f"{max(losses):.4f}",
        ]
        for values, losses in groups.items()
    ]
    head = [*(axis.name for axis in others), "seeds", "mean", "deviation", "lowest", "highest"]
    grid = _grid(head, rows, words=len(others))
    return f"## Over seeds\n\nThe best held-out loss of each job:\n\n{grid}" if rows else ""


def _failure(entry: Entry) -> str:
    label = f" (`{entry.label}`)" if entry.label else ""
    lines = "\n".join(f"    {line}" for line in entry.reason.splitlines())
    log = f"jobs/{entry.job.number}.log"
    return f"Job {entry.job.number}{label}, see [{log}]({log}):\n\n{lines}"


def _values(entry: Entry, axes: Sequence[Axis]) -> list[str]:
    return [entry.job.values.get(axis.name, "") for axis in axes]


def _said(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"


def _link(path: str) -> str:
    return f"[{Path(path).name}]({path})" if path else ""


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> str:
    """A table whose first `words` columns are text and whose others are numbers."""
    ruler = ["---"] * words + ["---:"] * (len(head) - words)
    lines = [head, ruler, *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def comma_separated(table: Table) -> str:
    """The same with every digit, empty where nothing was measured."""
    train = table.stage == TRAIN
    measured = (
        "full_valid_loss",
        "best_full_valid_loss",
        "perplexity",
        "train_loss",
        "seconds",
        "peak_memory_bytes",
        "best",
    )
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [axis.name for axis in table.axes]
    last = ["output", "exit_code", "reason"]
    writer.writerow(["job", *names, "state", *(measured if train else ()), *last])
    for at, (entry, found) in enumerate(zip(table.entries, table.figures, strict=True)):
        numbers = [
            found.final,
            found.best,
            found.perplexity,
            found.train_loss,
            found.seconds,
            found.peak_memory_bytes,
            "yes" if at == table.best else "",
        ]
        row = [entry.job.number, *_values(entry, table.axes), entry.state.name]
        row += numbers if train else []
        writer.writerow([*row, table.output(entry), entry.code, entry.reason])
    return file.getvalue()
