"""Early stopping: when more epochs no longer help."""

from __future__ import annotations

import math
from collections.abc import Sequence

from understudy.config.evaluation import EvalConfig
from understudy.console import say
from understudy.records.checkpoints import Progress
from understudy.train.journal import FULL_VALID_LOSS
from understudy.train.training import Training


def exhausted(run: Training, at: Progress) -> bool:
    """Whether the run ends here, before its plan does.

    Judged from the journal alone, so that a resumed run comes to the same answer.
    """
    if run.config.eval.patience is None or not at.ends_epoch:
        return False
    losses = [loss for _, loss in run.journal.values(FULL_VALID_LOSS)]
    if not out_of_patience(losses, run.config.eval):
        return False
    waited = run.config.eval.patience
    message = (
        f"stopped early, after epoch {at.epoch} of {run.config.schedule.epochs}: held-out loss "
        f"found no new low in {waited} {'epoch' if waited == 1 else 'epochs'} (eval.patience)"
    )
    run.journal.message(message)
    say(f"train: {message}")
    return True


def out_of_patience(losses: Sequence[float], config: EvalConfig) -> bool:
    """Whether the last `patience` losses all failed to fall below the best one before them.

    Args:
        losses: Held-out loss of the base and after each epoch, in nats per token; one that is not
            finite is no new low.
        config: `patience` in epochs and `min_gain` in nats.
    """
    assert config.patience is not None
    best = losses[0] if losses and math.isfinite(losses[0]) else math.inf
    waited = 0
    for loss in losses[1:]:
        if loss < best - config.min_gain:
            best, waited = loss, 0
        else:
            waited += 1
    return waited >= config.patience
