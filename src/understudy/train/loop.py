"""The training loop."""

from __future__ import annotations

import resource
import time

from understudy.config.keep import KeepConfig
from understudy.console import Stopped, progress
from understudy.records.checkpoints import Progress
from understudy.train import checkpoint as checkpoints
from understudy.train import stopping, stuck
from understudy.train.journal import Doing
from understudy.train.measure import measure
from understudy.train.plan import Step
from understudy.train.step import Taken, take
from understudy.train.stop import Interrupted
from understudy.train.training import Training

BEGINNING = Progress(step=0, epoch=0, ends_epoch=False, tokens=0)


def fit(run: Training, start: Progress | None) -> Progress:
    """Train from `start` (None: from the beginning) to the end of the plan, or to an early stop.

    A step is done, saved where that is due, and then measured: whatever a kill interrupts, the
    resumed run finds by its journal what is still to be measured, and measures it again.

    Raises:
        Stopped: a signal asked to stop; the state is saved.
        RunFailedError: loss or gradient norm cannot be right, or the disk is full.
    """
    at = start or BEGINNING
    run.stop.defer()
    run.journal.doing(Doing.training, at)
    saves = _Saves(run.config.keep, at.step)
    try:
        _look(run, at)
        with progress("train", len(run.steps), "steps", done=at.step) as bar:
            while at.step < len(run.steps) and not stopping.exhausted(run, at):
                _stop_if_asked(run)
                step = run.steps[at.step]
                run.journal.doing(Doing.training, at)
                began = time.monotonic()
                taken = take(run, step)
                at = _after(at, step, taken)
                _note(run, at, taken, time.monotonic() - began)
                stuck.check(run, step)
                bar.advance(note=f"loss {taken.sums.mean_loss:.3f}")
                if step.ends_epoch or saves.due(at.step):
                    checkpoints.save(run, at)
                    saves.made(at.step)
                _look(run, at)
    except Interrupted:
        if at.step > saves.step:
            checkpoints.save(run, at)
        text = f"stopped by {run.stop.signal} after step {at.step} of {len(run.steps)}"
        run.journal.message(text)
        raise Stopped(f"{text}: the same command goes on from here.") from None
    return at


def _look(run: Training, at: Progress) -> None:
    """Measure what is due, and then remove the checkpoints that are not worth keeping."""
    measure(run, at)
    if at.ends_epoch:
        checkpoints.prune(run)


def _stop_if_asked(run: Training) -> None:
    if run.processes.any(flag=run.stop.raised):
        raise Interrupted


class _Saves:
    """When to save for resuming: by time, and by steps where that is asked for."""

    def __init__(self, config: KeepConfig, step: int) -> None:
        self.config = config
        self.made(step)

    def made(self, step: int) -> None:
        """The state after this step is on disk."""
        self.step = step
        self.time = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a kill now would cost more than the config allows."""
        every = self.config.resume_steps
        late = time.monotonic() - self.time >= 60 * self.config.resume_minutes
        return late or (every is not None and step - self.step >= every)


def _after(at: Progress, step: Step, taken: Taken) -> Progress:
    return Progress(
        step=step.number,
        epoch=step.epoch,
        ends_epoch=step.ends_epoch,
        tokens=at.tokens + taken.sums.tokens,
    )


def _note(run: Training, at: Progress, taken: Taken, seconds: float) -> None:
    scale = run.precision.scale
    run.journal.measure(
        {
            "step": at.step,
            "epoch": run.steps[at.step - 1].epochs_done,
            "train_loss": taken.sums.mean_loss,
            "train_mean_token_accuracy": taken.sums.accuracy,
            "learning_rate": taken.learning_rate,
            "grad_norm": taken.grad_norm,
            "tokens": at.tokens,
            **({} if scale is None else {"loss_scale": scale}),
        }
    )
    run.journal.time(
        {
            "step": at.step,
            "seconds": seconds,
            "tokens_per_second": taken.sums.tokens / seconds,
            "peak_memory_bytes": peak_memory_bytes(),
        }
    )


def peak_memory_bytes() -> int:
    """Largest memory so far: the GPU's where there is one, else this process's."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
