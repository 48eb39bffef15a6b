"""What a run came to, in a few figures and, where there is reason, a warning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from understudy import artifacts
from understudy.console import say, warn
from understudy.records.checkpoints import Progress
from understudy.train.journal import FULL_VALID_LOSS
from understudy.train.training import Training

SUMMARY_FILE = "summary.json"
WORSE = 0.01
"""Share by which the last held-out loss must lie above the best one to speak of overfitting."""
FLAT = 0.005
"""Share of the best held-out loss that an epoch must gain, or the run has come to a plateau."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Losses in nats per token; None where nothing was measured."""

    steps: int
    epochs: int
    tokens: int
    """Supervised tokens learned from, repeats included."""
    train_loss: float
    """Mean over the last epoch's tokens, measured while the weights moved."""
    base_loss: float | None
    """Held-out loss of the base."""
    valid_loss: float | None
    """Held-out loss at the end."""
    perplexity: float | None
    """exp(valid_loss)."""
    gap: float | None
    """valid_loss - train_loss: how much better it does on what it has seen."""
    best_loss: float | None
    """Lowest held-out loss at an epoch's end."""
    best_epoch: int | None
    best_step: int | None
    warnings: tuple[str, ...]


def write(run: Training, end: Progress) -> None:
    """Write `summary.json` and say it."""
    found = summarise(run, end)
    artifacts.write_json(run.folder / SUMMARY_FILE, found)
    if found.valid_loss is not None and found.perplexity is not None and found.gap is not None:
        say(
            f"train: held-out loss {found.valid_loss:.3f} (base {found.base_loss:.3f}), perplexity "
            f"{found.perplexity:.2f}; {found.gap:+.3f} against the last epoch's train loss; "
            f"best: epoch {found.best_epoch}, step {found.best_step}, {found.best_loss:.3f}"
        )
    for warning in found.warnings:
        warn(warning)
        run.journal.message(f"warning: {warning}")


def summarise(run: Training, end: Progress) -> Summary:
    """Work the figures out from the journal."""
    held_out = run.journal.values(FULL_VALID_LOSS)
    tuned = [(loss, step) for step, loss in held_out if step]
    best = min(tuned, default=None)
    valid = tuned[-1][0] if tuned else None
    train = _last_epoch_loss(run, end)
    return Summary(
        steps=end.step,
        epochs=end.epoch,
        tokens=end.tokens,
        train_loss=train,
        base_loss=held_out[0][1] if held_out else None,
        valid_loss=valid,
        perplexity=None if valid is None else math.exp(min(valid, 700)),
        gap=None if valid is None else valid - train,
        best_loss=None if best is None else best[0],
        best_epoch=None if best is None else run.steps[best[1] - 1].epoch,
        best_step=None if best is None else best[1],
        warnings=tuple(warnings([loss for _, loss in held_out], train)),
    )


def warnings(held_out: Sequence[float], train: float) -> list[str]:
    """What a person should know about a run's course.

    Args:
        held_out: Held-out loss of the base and after each epoch.
        train: Train loss over the last epoch.
    """
    if len(held_out) < 2:  # noqa: PLR2004  # the base and one epoch
        return []
    base, *tuned = held_out
    best, last = min(tuned), tuned[-1]
    epoch = tuned.index(best) + 1
    found = []
    if best >= base:
        found.append(
            "no epoch is better than the base on what was held out: look at the rows "
            "(understudy show), or lower optim.lr."
        )
    if last > best * (1 + WORSE):
        found.append(
            f"overfitting: held-out loss rose from {best:.3f} after epoch {epoch} to {last:.3f}, "
            f"while train loss fell to {train:.3f}: use checkpoints=[best], or fewer epochs."
        )
    elif len(tuned) > 1 and tuned[-2] - last < FLAT * tuned[-2]:
        found.append(
            f"plateau: the last epoch took held-out loss from {tuned[-2]:.3f} to {last:.3f}: more "
            "epochs of the same will bring little."
        )
    return found


def _last_epoch_loss(run: Training, end: Progress) -> float:
    """Token-weighted mean of `train_loss` over the last epoch's steps."""
    losses = dict(run.journal.values("train_loss"))
    last = [step for step in run.steps if step.epoch == end.epoch]
    sizes = {s.number: sum(run.data.train[row].supervised for row in s.rows) for s in last}
    return sum(losses[step] * size for step, size in sizes.items()) / sum(sizes.values())
