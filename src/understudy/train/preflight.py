"""Checks before step 1: what would otherwise fail after hours fails within two minutes."""

from __future__ import annotations

import time
from dataclasses import replace

from understudy.config import Config
from understudy.console import UserError, say
from understudy.train import agreement, choice, isolation, longest, loss, mask, optimizer, room
from understudy.train.data import Dataset
from understudy.train.training import Training


def agree(config: Config, data: Dataset) -> None:
    """Check that what is asked for can be had from this set, before anything large is loaded.

    Raises:
        UserError: something needs held-out rows, and there are none.
    """
    if config.eval.patience is not None and not data.valid:
        raise UserError(
            f"eval.patience={config.eval.patience} judges by held-out loss, and the prepared set "
            "holds no row out: set eval.patience=null, or prepare a set with held-out rows (split)."
        )
    if config.keep.best and not (config.eval.full and data.valid):
        why = "eval.full=false measures none" if data.valid else "the set holds no row out"
        raise UserError(
            f"keep.best=true judges by held-out loss, and {why}: set keep.best=false, or have it "
            "measured."
        )


def check(run: Training) -> Training:
    """Run every check; leaves weights, optimiser, loss scale and random generators as they were.

    Returns:
        The run under the plan of memory that config fixes or that a trial found.

    Raises:
        UserError: memory, disk or model do not suffice; the message says what to do.
        RunFailedError: loss, gradient or labels are wrong.
    """
    began = time.monotonic()
    # What a step leaves behind in an optimiser must not be there when the run begins: the trial
    # has one of its own. (bitsandbytes never gives back what it paged; it may go to main memory.)
    trial = replace(run, optimizer=optimizer.build(run.model, run.config))
    mask.check(run.data.train, run.encoder)
    loss.check_head(run)
    agreement.check(run)
    # Asked for by config, it is looked at before a trial that would take it for granted.
    isolation.check(run)
    longest.make_state(trial)
    trial = choice.settle(trial)
    run = replace(run, memory=trial.memory)
    longest.check(trial)
    room.check(trial)
    say(f"train: checks passed in {time.monotonic() - began:.1f} s")
    return run
