"""The picture of a sweep: held-out loss by swept value, and the curves of all jobs.

It is tall, so that it fills a phone as it is.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from understudy.sweep.axis import SEED, Axis, across
from understudy.sweep.figures import Curve
from understudy.sweep.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER, INK, SOFT, LINE, BASE = "#fbf9f5", "#1f1d1a", "#665f55", "#ddd6ca", "#8a8175"
COLOURS = ("#0b6b66", "#b26a00", "#7b4fa3", "#c0392b", "#2f6fb5", "#5f8a1f", "#a8457a", "#4b5563")
"""Told apart with every kind of colour blindness by their lightness, too."""
WIDTH, HEIGHT, DOTS = 5.4, 7.8, 200
"""Inches, and dots to the inch."""
MOST_NAMED = 12
"""Lines beyond these are not named: all grey but the best."""
MOST_POINTS = 200


def draw(table: Table) -> bytes | None:
    """The picture as PNG; None where no job has a loss yet.

    Raises:
        ImportError: matplotlib is not installed.
    """
    if not any(found.train.values or found.held_out.values for found in table.figures):
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
    axis = across(table.axes)
    with rc_context(settings):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor=PAPER)
        FigureCanvasAgg(figure)
        if axis is None:
            _curves(figure.add_subplot(), table)
        else:
            upper, lower = figure.subplots(2, 1, height_ratios=(1, 1.15))
            _by_value(upper, table, axis)
            _curves(lower, table)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DOTS, metadata={"Software": None})
    return buffer.getvalue()


# --- held-out loss by swept value ---


def _by_value(axes: Axes, table: Table, axis: Axis) -> None:
    """A line for each combination of the other keys, through the means over the seeds."""
    others = [each for each in table.axes if each.name not in (axis.name, SEED)]
    lines: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for entry, found in zip(table.entries, table.figures, strict=True):
        if found.best is not None:
            values = entry.job.values
            name = tuple(values.get(each.name, "") for each in others)
            points = lines.setdefault(name, {})
            points.setdefault(values.get(axis.name, ""), []).append(found.best)
    named = len(lines) <= MOST_NAMED
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)] if named else BASE
        values = sorted(points, key=axis.position)
        at = [axis.position(value) for value in values]
        means = [statistics.mean(points[value]) for value in values]
        style = {"lw": 2, "marker": "o", "ms": 6} if axis.numeric else {"lw": 0, "marker": "o", "ms": 9}
        label = ", ".join(f"{each.name.rpartition('.')[2]} {v}" for each, v in zip(others, name, strict=True))
        axes.plot(at, means, color=colour, label=label or None, **style)
        repeated = [(x, y) for x, v in zip(at, values, strict=True) for y in points[v] if len(points[v]) > 1]
        if repeated:
            axes.plot(*zip(*repeated, strict=True), "o", color=colour, ms=3.5, alpha=0.5)
    _best_value(axes, table, axis)
    _frame(axes, "Held-out loss, best epoch", _axis_name(table, axis))
    _ticks(axes, axis)
    if others and named:
        _legend(axes)


def _axis_name(table: Table, axis: Axis) -> str:
    seeds = next((len(each.values) for each in table.axes if each.name == SEED), 0)
    if seeds and axis.name != SEED:
        return f"{axis.name} (mean and each of {seeds} seeds)"
    return axis.name


def _ticks(axes: Axes, axis: Axis) -> None:
    at = [axis.position(value) for value in axis.values]
    if axis.logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(at, list(axis.values))
    axes.minorticks_off()
    if not axis.numeric:
        axes.set_xlim(-0.6, len(at) - 0.4)
    if max(len(value) for value in axis.values) * len(at) > 48:  # noqa: PLR2004  # characters that fit
        axes.tick_params(axis="x", labelrotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")


def _best_value(axes: Axes, table: Table, axis: Axis) -> None:
    if table.best is None:
        return
    entry, found = table.entries[table.best], table.figures[table.best]
    assert found.best is not None
    x = axis.position(entry.job.values.get(axis.name, ""))
    axes.plot([x], [found.best], "o", ms=13, mfc="none", mec=INK, mew=1.4)
    axes.annotate(
        f"job {entry.job.number}: {found.best:.3f}",
        (x, found.best),
        xytext=(0, -13),
        textcoords="offset points",
        ha="center",
        va="top",
        weight="bold",
    )
    axes.margins(x=0.12, y=0.22)


# --- curves ---


def _curves(axes: Axes, table: Table) -> None:
    """Held-out loss of every job with marks, train loss behind it."""
    shown = [
        (at, entry, found)
        for at, (entry, found) in enumerate(zip(table.entries, table.figures, strict=True))
        if found.held_out.values or found.train.values
    ]
    named = len(shown) <= MOST_NAMED
    for number, (at, entry, found) in enumerate(shown):
        best = at == table.best
        colour = COLOURS[number % len(COLOURS)] if named or best else BASE
        train = _thin(found.train)
        faint = 0.35 if named else 0.1
        axes.plot(train.epochs, train.values, color=colour, lw=0.9, alpha=faint, zorder=1)
        label = f"{entry.job.number}: {entry.label}" if named or best else None
        axes.plot(
            found.held_out.epochs,
            found.held_out.values,
            color=colour,
            lw=2.6 if best else 1.6,
            ls=("-", "--", ":")[number // len(COLOURS) % 3],
            marker="o",
            ms=5 if best else 3.5,
            alpha=1 if named or best else 0.6,
            label=f"{label}, best" if label and best else label,
            zorder=3 if best else 2,
        )
    _frame(axes, "Held-out loss of each job (thin: train loss)", "epoch")
    _legend(axes)


def _thin(curve: Curve) -> Curve:
    """Means of neighbouring steps, so that many jobs stay readable."""
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
    long = max(map(len, labels)) > 24  # noqa: PLR2004  # characters, half the width
    axes.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=1 if long else 2,
        frameon=False,
        fontsize=9,
        handlelength=1.8,
    )


