"""A loss that cannot be: exactly zero, or the same whatever the rows."""

from __future__ import annotations

from itertools import islice

from understudy.console import RunFailedError, warn
from understudy.train.plan import Step
from understudy.train.training import Training

SAME_STEPS = 10
"""Steps of one and the same loss after which a run is given up."""
ROUNDING = 1e-6
"""Share by which losses of different rows may differ and count as one: what a sum in fp32 loses."""
_KEY = "train_loss"


def check(run: Training, step: Step) -> None:
    """Look at the loss of the step that was just taken, and at those before it.

    Rows differ, and so do their losses; over the same rows the loss moves with the weights. Judged
    from the journal alone, so that a resumed run comes to the same answer.

    Raises:
        RunFailedError: the loss is exactly zero, or has not moved over different rows.
    """
    backwards = (line[_KEY] for line in reversed(run.journal.metrics) if _KEY in line)
    losses = list(islice(backwards, SAME_STEPS + 1))[::-1]
    if losses[-1] == 0:
        items = ", ".join(sorted({run.data.train[row].item for row in step.rows}))
        raise RunFailedError(
            f"loss is exactly zero at step {step.number}, rows {list(step.rows)} of {items}: there "
            "is nothing to learn from them, or what is to be predicted can be seen. Look at these "
            "rows (understudy show --rows), or train fewer epochs if they are known by heart."
        )
    recent = losses[-SAME_STEPS:]
    if len(recent) < SAME_STEPS or max(recent) - min(recent) > ROUNDING * max(recent):
        return
    if len({_read(run, past) for past in run.steps[step.number - SAME_STEPS : step.number]}) > 1:
        raise RunFailedError(
            f"train loss was {losses[-1]:g} in each of {SAME_STEPS} steps up to step "
            f"{step.number}, though their rows differ: the loss does not depend on what the model "
            "reads, so nothing can be learned. Check the weights of model.base."
        )
    if len(set(recent)) == 1 and (len(losses) == SAME_STEPS or losses[0] != losses[-1]):
        message = (
            f"train loss has not moved in {SAME_STEPS} steps over the same rows, up to step "
            f"{step.number}: nothing is learned at a learning rate of {run.config.optim.peak:g} in "
            f"{run.config.model.dtype.name}."
        )
        warn(message)
        run.journal.message(f"warning: {message}")


def _read(run: Training, step: Step) -> tuple[tuple[int, ...], ...]:
    """What a step's rows say, whatever their numbers: a set may hold a row many times."""
    return tuple(sorted(tuple(run.data.train[row].ids) for row in step.rows))
