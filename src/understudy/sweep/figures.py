"""What a training run came to, read from what it wrote. No torch in here."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.records import jsonl

FULL_VALID_LOSS = "full_valid_loss"
TRAIN_LOSS = "train_loss"
LARGEST_EXPONENT = 700
"""exp of more is no floating point number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A loss over the epochs."""

    epochs: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    """In nats per token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """A run's figures so far; None where nothing was measured."""

    final: float | None = None
    """full_valid_loss, the last one measured."""
    best: float | None = None
    """full_valid_loss, the lowest at an epoch's end."""
    base: float | None = None
    """full_valid_loss of the base model."""
    train_loss: float | None = None
    """Mean over the last epoch's tokens; of the last step where the run is not finished."""
    seconds: float | None = None
    """Spent in training steps, over all starts of the run."""
    peak_memory_bytes: int | None = None
    held_out: Curve = Curve()
    """full_valid_loss; epoch 0 is the base model."""
    train: Curve = Curve()

    @property
    def perplexity(self) -> float | None:
        """Of the last full_valid_loss: its exponential."""
        return None if self.final is None else math.exp(min(self.final, LARGEST_EXPONENT))


def read(run: Path | None) -> Figures:
    """The figures of a run, as far as it has got."""
    if run is None or not run.is_dir():
        return Figures()
    metrics = jsonl.read_whole(run / "metrics.jsonl")
    timing = jsonl.read_whole(run / "timing.jsonl")
    held_out, train = _curve(metrics, FULL_VALID_LOSS), _curve(metrics, TRAIN_LOSS)
    points = list(zip(held_out.epochs, held_out.values, strict=True))
    tuned = [value for epoch, value in points if epoch > 0]
    seconds = [line["seconds"] for line in timing if "seconds" in line]
    peaks = [line["peak_memory_bytes"] for line in timing if "peak_memory_bytes" in line]
    return Figures(
        final=tuned[-1] if tuned else None,
        best=min(tuned, default=None),
        base=next((value for epoch, value in points if epoch == 0), None),
        train_loss=_train_loss(run, train.values),
        seconds=sum(seconds) if seconds else None,
        peak_memory_bytes=max(peaks, default=None),
        held_out=held_out,
        train=train,
    )


def _curve(metrics: Sequence[dict[str, Any]], name: str) -> Curve:
    lines = [line for line in metrics if name in line and math.isfinite(line[name])]
    return Curve(
        epochs=tuple(float(line.get("epoch", 0)) for line in lines),
        values=tuple(float(line[name]) for line in lines),
    )


def _train_loss(run: Path, values: Sequence[float]) -> float | None:
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        return float(summary[TRAIN_LOSS])
    except (OSError, ValueError, KeyError, TypeError):
        return values[-1] if values else None


def best(figures: Sequence[Figures]) -> int | None:
    """Which of several runs has the lowest full_valid_loss; None where none has one."""
    found = [(each.best, at) for at, each in enumerate(figures) if each.best is not None]
    return min(found)[1] if found else None
