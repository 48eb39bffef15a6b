"""Loss and token accuracy over the steps of training, drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from understudy.compare.numbers import decimals, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 240
"""More steps than these are drawn as means of as many neighbouring steps as it takes."""
MOST_EPOCH_MARKS = 12
EMBEDDED_FONT = "'DejaVu Sans'"
PAGE_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


class Measure(Enum):
    """What a picture shows: the suffix of its keys in `metrics.jsonl`."""

    loss = "loss"
    accuracy = "mean_token_accuracy"


class Theme(Enum):
    """Colours of paper, ink, soft ink, lines, train, valid and full_valid, by theme."""

    light = ("#fbf9f5", "#1f1d1a", "#665f55", "#ddd6ca", "#a59b8c", "#b26a00", "#0b6b66")
    dark = ("#151418", "#ece8e1", "#aaa49a", "#3a3740", "#8d867c", "#e6a23c", "#5fd0c5")


class Size(Enum):
    """Width and height in CSS pixels: beside each other on a desk, full width on a phone."""

    wide = (520, 330)
    narrow = (358, 290)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One measured quantity over the steps."""

    steps: tuple[float, ...]
    values: tuple[float, ...]
    mean_of: int = 1
    """How many measurements each point is the mean of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """Everything in one picture."""

    measure: Measure
    train: Curve
    valid: Curve
    """A sample of the held-out rows, during training."""
    full_valid: Curve
    """All held-out rows; step 0 is the base model."""
    base: float | None
    """The base model on all held-out rows."""
    best: tuple[float, float] | None
    """Step with the lowest loss on all held-out rows, and its value in this picture."""
    epochs: tuple[tuple[int, float], ...]
    """Number and last step of each epoch."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.train.steps or self.valid.steps or self.full_valid.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A drawing in every theme and size, as `data:` addresses."""

    title: str
    alt: str
    caption: str
    sources: Mapping[str, str]
    """By `<theme>_<size>`."""
    width: int
    height: int


def curves(metrics: Sequence[Mapping[str, float]], measure: Measure) -> Curves:
    """Pick one measure's curves out of `metrics.jsonl`."""
    base = [m for m in metrics if m["step"] == 0 and f"full_valid_{measure.value}" in m]
    return Curves(
        measure=measure,
        train=_thin(_curve(metrics, f"train_{measure.value}")),
        valid=_thin(_curve(metrics, f"valid_{measure.value}")),
        full_valid=_curve(metrics, f"full_valid_{measure.value}", first=0),
        base=base[-1][f"full_valid_{measure.value}"] if base else None,
        best=_best(metrics, measure),
        epochs=_epochs(metrics),
    )


def _curve(metrics: Sequence[Mapping[str, float]], key: str, *, first: int = 1) -> Curve:
    points = sorted((m["step"], m[key]) for m in metrics if key in m and m["step"] >= first)
    return Curve(steps=tuple(s for s, _ in points), values=tuple(v for _, v in points))


def _thin(curve: Curve) -> Curve:
    """Means of neighbouring points, so that a long run stays a small picture."""
    span = -(-len(curve.steps) // MOST_POINTS)
    if span <= 1:
        return curve
    starts = range(0, len(curve.steps), span)
    steps = tuple(_mean(curve.steps[start : start + span]) for start in starts)
    values = tuple(_mean(curve.values[start : start + span]) for start in starts)
    return Curve(steps=steps, values=values, mean_of=span)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _best(metrics: Sequence[Mapping[str, float]], measure: Measure) -> tuple[float, float] | None:
    key = f"full_valid_{Measure.loss.value}"
    found = [m for m in metrics if key in m and m["step"] > 0]
    if not found:
        return None
    best = min(found, key=lambda m: (m[key], m["step"]))
    value = best.get(f"full_valid_{measure.value}")
    return None if value is None else (best["step"], value)


def _epochs(metrics: Sequence[Mapping[str, float]]) -> tuple[tuple[int, float], ...]:
    ends: dict[int, float] = {}
    for line in sorted(metrics, key=lambda m: m["step"]):
        for number in range(1, int(line.get("epoch", 0) + 1e-6) + 1):
            ends.setdefault(number, line["step"])
    every = -(-len(ends) // MOST_EPOCH_MARKS)
    return tuple((number, step) for number, step in ends.items() if number % max(every, 1) == 0)


def picture(curves: Curves) -> Picture:
    """Draw the curves for light and dark pages, desk and phone."""
    loss = curves.measure is Measure.loss
    sources = {
        f"{theme.name}_{size.name}": _address(_draw(curves, theme, size))
        for theme in Theme
        for size in Size
    }
    span = max(curves.train.mean_of, curves.valid.mean_of)
    parts = (
        "Mean cross-entropy, nats per token: lower is better."
        if loss
        else "Share of tokens whose likeliest prediction was right: higher is better.",
        f"Each point is the mean of {span} neighbouring steps." if span > 1 else "",
    )
    return Picture(
        title="Loss" if loss else "Token accuracy",
        alt=describe(curves),
        caption=" ".join(part for part in parts if part),
        sources=sources,
        width=Size.wide.value[0],
        height=Size.wide.value[1],
    )


def describe(curves: Curves) -> str:
    """The picture in words, with its figures."""
    loss = curves.measure is Measure.loss
    form = decimals if loss else percent
    steps = (curves.train.steps, curves.valid.steps, curves.full_valid.steps)
    last_step = max(max(part, default=0) for part in steps)
    parts = [f"{'Loss' if loss else 'Token accuracy'} over {last_step:,.0f} steps."]
    for name, curve in (("Train", curves.train), ("Valid", curves.valid)):
        if curve.values:
            start, end = form(curve.values[0]), form(curve.values[-1])
            parts.append(f"{name} goes from {start} to {end}.")
    if curves.base is not None:
        parts.append(f"The base model is at {form(curves.base)} on all held-out rows.")
    if curves.best is not None:
        step, value = curves.best
        end = form(curves.full_valid.values[-1])
        parts.append(
            f"Training brings that to {form(value)} at its best step, {step:,.0f}, "
            f"and ends at {end}."
        )
    return " ".join(parts)


def _address(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _draw(curves: Curves, theme: Theme, size: Size) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    _, ink, soft, line, _, _, _ = theme.value
    width, height = size.value
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "understudy",
        "font.size": 9,
        "text.color": ink,
        "axes.edgecolor": line,
        "axes.labelcolor": soft,
        "xtick.color": soft,
        "ytick.color": soft,
        "text.parse_math": False,
    }
    with rc_context(settings):
        # 72 points to the inch is how matplotlib measures an SVG: one point, one CSS pixel.
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        axes = figure.add_subplot()
        _lines(axes, curves, theme)
        _marks(axes, curves, theme)
        _frame(axes, curves, theme)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=4 if size is Size.wide else 2,
            frameon=False,
            handlelength=1.6,
            columnspacing=1.2,
            fontsize=11,
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue().replace(EMBEDDED_FONT.encode(), PAGE_FONT.encode())


def _lines(axes: Axes, curves: Curves, theme: Theme) -> None:
    _, _, soft, _, train, valid, full = theme.value
    if curves.train.steps:
        axes.plot(curves.train.steps, curves.train.values, color=train, lw=1.3, label="train")
    if curves.valid.steps:
        axes.plot(
            curves.valid.steps, curves.valid.values, color=valid, lw=1.6, label="valid, a sample"
        )
    if curves.full_valid.steps:
        axes.plot(
            curves.full_valid.steps,
            curves.full_valid.values,
            color=full,
            lw=2.2,
            marker="o",
            ms=5,
            label="valid, all rows",
        )
    if curves.base is not None:
        axes.axhline(curves.base, color=soft, lw=1.4, ls=(0, (5, 3)), label="base, all rows")


def _marks(axes: Axes, curves: Curves, theme: Theme) -> None:
    paper, ink, soft, line, _, _, full = theme.value
    top = axes.get_xaxis_transform()
    for number, step in curves.epochs:
        axes.axvline(step, color=line, lw=1, zorder=0)
        text = f"epoch {number}" if number == curves.epochs[0][0] else str(number)
        axes.text(step, 1.015, text, transform=top, ha="center", va="bottom", color=soft, size=10)
    if curves.best is not None:
        step, value = curves.best
        axes.plot([step], [value], "o", ms=11, mfc="none", mec=full, mew=1.6)
        loss = curves.measure is Measure.loss
        left = step > axes.get_xlim()[1] / 3
        axes.annotate(
            f"best {value:.2f}" if loss else f"best {100 * value:.1f} %",
            (step, value),
            xytext=(-10 if left else 10, -10 if loss else 10),
            textcoords="offset points",
            ha="right" if left else "left",
            va="top" if loss else "bottom",
            color=ink,
            size=11,
            weight="bold",
            bbox={"boxstyle": "square,pad=0.15", "fc": paper, "ec": "none", "alpha": 0.85},
        )


def _frame(axes: Axes, curves: Curves, theme: Theme) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    _, _, _, line, _, _, _ = theme.value
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color=line, lw=0.6, alpha=0.7)
    axes.tick_params(length=0, labelsize=10.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.margins(y=0.12)
    # A little room at the left, so that the mark of step 0 is whole.
    axes.set_xlim(left=-0.015 * axes.get_xlim()[1])
    axes.set_xlabel("step", size=10, loc="right")
    if curves.measure is Measure.accuracy:
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
