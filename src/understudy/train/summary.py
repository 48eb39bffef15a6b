"""What a run came to, in a few figures and, where there is reason, a warning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from understudy import artifacts
from understudy.console import say, warn
from understudy.records.checkpoints import Progress, whole
from understudy.train.journal import FULL_VALID_LOSS
from understudy.train.training import Training

SUMMARY_FILE = "summary.json"
WORSE = 0.01
"""Share by which the last held-out loss must lie above the best one to speak of overfitting."""
FLAT = 0.005
"""Share of the held-out loss that an epoch must gain, or the run has come to a plateau."""
LARGEST_EXPONENT = 700.0
"""exp of more is no number any longer."""
NOT_FINITE = (
    "held-out loss was not finite after epoch {} (0 is the base): look at the held-out rows, or "
    "try another model.dtype."
)
WORSE_THAN_BASE = (
    "no epoch is better than the base on what was held out: look at the rows (understudy show), "
    "or lower optim.lr."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Losses in nats per token; None where nothing was measured, or nothing finite."""

    steps: int
    planned_steps: int
    """More than `steps` where the run stopped early."""
    epochs: int
    tokens: int
    """Supervised tokens learned from, repeats included."""
    train_loss: float
    """Mean over the last epoch's tokens, measured while the weights moved: the weights at the end
    would do somewhat better."""
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
    best_kept: bool
    """Whether the checkpoint of the best epoch is there still."""
    warnings: tuple[str, ...]


def write(run: Training, end: Progress) -> None:
    """Write `summary.json` and say it."""
    if not run.processes.first:
        return
    found = summarise(run, end)
    artifacts.write_json(run.folder / SUMMARY_FILE, found)
    for line in told(found):
        say(f"train: {line}")
    for warning in found.warnings:
        warn(warning)
        run.journal.message(f"warning: {warning}")


def told(found: Summary) -> list[str]:
    """The figures in sentences."""
    train = f"train loss {found.train_loss:.3f} over the last epoch, while the weights moved"
    if found.valid_loss is None or found.perplexity is None or found.gap is None:
        return [f"{train}; no held-out loss at the end"]
    base = "" if found.base_loss is None else f" (base {found.base_loss:.3f})"
    side = "above" if found.gap >= 0 else "below"
    best = f"epoch {found.best_epoch}, step {found.best_step}"
    return [
        f"held-out loss {found.valid_loss:.3f}{base}, perplexity {found.perplexity:,.2f}",
        f"{train}: held-out loss is {abs(found.gap):.3f} {side} it",
        f"best: {best}, held-out loss {found.best_loss:.3f}",
    ]


def summarise(run: Training, end: Progress) -> Summary:
    """Work the figures out from the journal."""
    measured = run.journal.values(FULL_VALID_LOSS)
    losses = {step: loss for step, loss in measured if math.isfinite(loss)}
    base, valid = losses.pop(0, None), losses.get(end.step)
    best_step = min(losses, key=lambda step: (losses[step], step), default=None)
    kept = any(checkpoint.progress.step == best_step for checkpoint in whole(run.folder))
    train = _last_epoch_loss(run, end)
    return Summary(
        steps=end.step,
        planned_steps=len(run.steps),
        epochs=end.epoch,
        tokens=end.tokens,
        train_loss=train,
        base_loss=base,
        valid_loss=valid,
        perplexity=None if valid is None else math.exp(min(valid, LARGEST_EXPONENT)),
        gap=None if valid is None else valid - train,
        best_loss=None if best_step is None else losses[best_step],
        best_epoch=None if best_step is None else run.steps[best_step - 1].epoch,
        best_step=best_step,
        best_kept=kept,
        warnings=tuple(warnings([loss for _, loss in measured], train, best_kept=kept)),
    )


def warnings(measured: Sequence[float], train: float, *, best_kept: bool = True) -> list[str]:
    """What a person should know about a run's course.

    Args:
        measured: Held-out loss of the base and after each epoch.
        train: Train loss over the last epoch.
        best_kept: Whether the checkpoint of the best epoch is there still.
    """
    broken = [str(epoch) for epoch, loss in enumerate(measured) if not math.isfinite(loss)]
    if broken:
        return [NOT_FINITE.format(", ".join(broken))]
    base, tuned = measured[:1], measured[1:]
    if not tuned:
        return []
    found = [WORSE_THAN_BASE] if min(tuned) >= base[0] else []
    best, last = min(tuned), tuned[-1]
    if last > best * (1 + WORSE):
        epoch = tuned.index(best) + 1
        use = "checkpoints=[best] uses that one" if best_kept else "keep=best keeps that one"
        found.append(
            f"overfitting: held-out loss rose from {best:.3f} after epoch {epoch} to {last:.3f}, "
            f"and train loss is {train:.3f}: {use}, or train for fewer epochs."
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
