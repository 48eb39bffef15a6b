"""The picture of a sweep: held-out loss by swept value, and the curves of all jobs.

It is tall, so that it fills a phone as it is.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.sweep.axis import SEED, Axis, across
from understudy.sweep.figures import Curve, Figures
from understudy.sweep.job import Entry
from understudy.sweep.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER, INK, SOFT, LINE, MANY = "#fbf9f5", "#1f1d1a", "#665f55", "#ddd6ca", "#a59b8c"
COLOURS = ("#0b6b66", "#b26a00", "#7b4fa3", "#c0392b", "#2f6fb5", "#5f8a1f", "#a8457a", "#4b5563")
STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
MARKS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH, HEIGHT, DOTS = 5.4, 7.8, 200
"""Inches, and dots to the inch."""
MOST_NAMED = 12
"""Jobs or lines beyond these are not named: all grey but the best."""
MOST_POINTS = 200
"""More steps than these are drawn as means of neighbours."""
WIDE_LABELS = 48
"""Characters that fit below an axis."""
LONG_LABEL = 30
"""Characters that fit into half the width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A job in the picture. Its colour and mark are the same in both parts."""

    entry: Entry
    figures: Figures
    group: tuple[str, ...]
    """Its values of the keys that are told apart by lines."""
    value: str
    """Its value on the axis."""
    colour: str
    style: Any
    mark: str
    best: bool


def draw(table: Table) -> bytes | None:
    """The picture as PNG; None where no job has a loss yet.

    Raises:
        ImportError: matplotlib is not installed.
    """
    axis = across(table.axes)
    jobs = _drawn(table, axis)
    if not jobs:
        return None
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {
        "font.size": 9.5,
        "text.color": INK,
        "axes.edgecolor": LINE,
        "axes.labelcolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "text.parse_math": False,
    }
    with rc_context(settings):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor=PAPER)
        FigureCanvasAgg(figure)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.12, h_pad=0.1)
        if axis is None:
            _curves(figure.add_subplot(), jobs, table.axes)
        else:
            upper, lower = figure.subplots(2, 1, height_ratios=(1, 1.15))
            _by_value(upper, table, jobs, axis)
            _curves(lower, jobs, table.axes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DOTS, metadata={"Software": None})
    return buffer.getvalue()


def _others(axes: Sequence[Axis], axis: Axis | None) -> list[Axis]:
    """The keys that are told apart by lines."""
    return [each for each in axes if axis is not None and each.name not in (axis.name, SEED)]


def _drawn(table: Table, axis: Axis | None) -> list[Drawn]:
    """Every job that has a loss. Several lines: a colour each. One: a colour for each value."""
    others = _others(table.axes, axis)
    found = [
        (at, entry, each)
        for at, (entry, each) in enumerate(zip(table.entries, table.figures, strict=True))
        if each.held_out.values or each.train.values
    ]
    groups = [_values(entry, others) for _, entry, _ in found]
    values = ["".join(_values(entry, [axis] if axis else [])) for _, entry, _ in found]
    lines, columns = list(dict.fromkeys(groups)), list(dict.fromkeys(values))
    several = len(lines) > 1
    crowded = len(lines if several else columns) > MOST_NAMED
    jobs = []
    for (at, entry, each), group, value in zip(found, groups, values, strict=True):
        column, line = columns.index(value), lines.index(group)
        hue, kind = (line, column) if several else (column, 0)
        jobs.append(
            Drawn(
                entry=entry,
                figures=each,
                group=group,
                value=value,
                colour=MANY if crowded else COLOURS[hue % len(COLOURS)],
                style=STYLES[kind % len(STYLES)],
                mark=MARKS[kind % len(MARKS)],
                best=at == table.best,
            )
        )
    return jobs


def _values(entry: Entry, axes: Sequence[Axis]) -> tuple[str, ...]:
    return tuple(entry.job.values.get(axis.name, "") for axis in axes)


# --- held-out loss by swept value ---


def _by_value(axes: Axes, table: Table, jobs: Sequence[Drawn], axis: Axis) -> None:
    """A line for each combination of the other keys, through the means over the seeds."""
    others = _others(table.axes, axis)
    measured = [job for job in jobs if job.figures.best is not None]
    lines: dict[tuple[str, ...], list[Drawn]] = {}
    for job in measured:
        lines.setdefault(job.group, []).append(job)
    for group, line in lines.items():
        _line(axes, line, axis, _name(others, group), several=len(lines) > 1)
    for job in measured:
        if job.best:
            _ring(axes, job, axis)
    _frame(axes, "Held-out loss, best epoch", _axis_name(table, axis))
    _ticks(axes, axis)
    if 1 < len(lines) <= MOST_NAMED:
        _legend(axes)


def _name(axes: Sequence[Axis], values: Sequence[str]) -> str:
    """`r 8, lr 0.001`; keys whole where their last words are the same."""
    short = [axis.name.rpartition(".")[2] for axis in axes]
    names = short if len(set(short)) == len(short) else [axis.name for axis in axes]
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _line(axes: Axes, line: Sequence[Drawn], axis: Axis, name: str, *, several: bool) -> None:
    points: dict[str, list[float]] = {}
    for job in line:
        assert job.figures.best is not None
        points.setdefault(job.value, []).append(job.figures.best)
    values = sorted(points, key=axis.position)
    at = [axis.position(value) for value in values]
    means = [statistics.mean(points[value]) for value in values]
    colour = line[0].colour if several else MANY
    if axis.numeric:
        axes.plot(at, means, color=colour, lw=2, zorder=1)
    first = True
    for value, x, mean in zip(values, at, means, strict=True):
        job = next(each for each in line if each.value == value)
        label = name if first else None
        axes.plot([x], [mean], "o", color=job.colour, ms=8, label=label, zorder=3)
        first = False
        if len(points[value]) > 1:
            each = points[value]
            axes.plot([x] * len(each), each, "_", color=job.colour, ms=14, mew=1.6, zorder=2)


def _ring(axes: Axes, job: Drawn, axis: Axis) -> None:
    x, y = axis.position(job.value), job.figures.best
    assert y is not None
    axes.plot([x], [y], "o", ms=14, mfc="none", mec=INK, mew=1.4, zorder=4)
    axes.annotate(
        f"job {job.entry.job.number}: {y:.3f}",
        (x, y),
        xytext=(0, -13),
        textcoords="offset points",
        ha="center",
        va="top",
        weight="bold",
    )


def _axis_name(table: Table, axis: Axis) -> str:
    seeds = next((len(each.values) for each in table.axes if each.name == SEED), 0)
    if seeds and axis.name != SEED:
        return f"{axis.name} (dots: mean of {seeds} seeds; dashes: each)"
    return axis.name


def _ticks(axes: Axes, axis: Axis) -> None:
    at = [axis.position(value) for value in axis.values]
    if axis.logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.14, y=0.24)
    axes.set_xticks(at, list(axis.values))
    axes.minorticks_off()
    if not axis.numeric:
        axes.set_xlim(-0.6, len(at) - 0.4)
    if (max(map(len, axis.values)) + 2) * len(at) > WIDE_LABELS:
        axes.tick_params(axis="x", labelrotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")


# --- curves ---


def _curves(axes: Axes, jobs: Sequence[Drawn], keys: Sequence[Axis]) -> None:
    """Held-out loss of every job with marks, train loss behind it."""
    from matplotlib.ticker import MaxNLocator

    named = len(jobs) <= MOST_NAMED
    for job in jobs:
        train = _thin(job.figures.train)
        faint = 0.35 if named else 0.12
        axes.plot(train.epochs, train.values, color=job.colour, lw=0.9, alpha=faint, zorder=1)
        values = _name(keys, _values(job.entry, keys))
        label = f"{job.entry.job.number}: {values}" + (", best" if job.best else "")
        axes.plot(
            job.figures.held_out.epochs,
            job.figures.held_out.values,
            color=job.colour if named or not job.best else INK,
            lw=2.8 if job.best else 1.6,
            ls=job.style,
            marker=job.mark,
            ms=6 if job.best else 4.5,
            alpha=1 if named or job.best else 0.6,
            label=label if keys and (named or job.best) else None,
            zorder=3 if job.best else 2,
        )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    _frame(axes, "Held-out loss of each job (thin: train loss)", "epoch")
    _legend(axes)


def _thin(curve: Curve) -> Curve:
    """Means of neighbouring steps, so that a long run stays readable."""
    span = -(-len(curve.values) // MOST_POINTS)
    if span <= 1:
        return curve
    starts = range(0, len(curve.values), span)
    return Curve(
        epochs=tuple(statistics.mean(curve.epochs[at : at + span]) for at in starts),
        values=tuple(statistics.mean(curve.values[at : at + span]) for at in starts),
    )


def _frame(axes: Axes, title: str, below: str) -> None:
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color=LINE, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.set_title(title, loc="left", size=11, weight="bold", color=INK, pad=10)
    axes.set_xlabel(below, loc="right")


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    axes.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=1 if max(map(len, labels)) > LONG_LABEL else 2,
        frameon=False,
        fontsize=9,
        handlelength=2.6,
    )
