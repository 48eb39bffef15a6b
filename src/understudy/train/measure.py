"""What is measured once a step is done, and written down once: also after a resume."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.console import say
from understudy.records.checkpoints import BASE, Progress
from understudy.train import speak
from understudy.train.data import Example
from understudy.train.evaluate import Evaluation, Scores, evaluate
from understudy.train.journal import FULL_VALID_LOSS, VALID_LOSS, Doing
from understudy.train.stop import Interrupted
from understudy.train.training import Training


def measure(run: Training, at: Progress) -> None:
    """Measure what is due at this step and not in the journal yet.

    Raises:
        Interrupted: a stop was asked for.
    """
    config = run.config.eval
    if at.step == 0 or at.ends_epoch:
        if config.full and run.data.valid and not run.journal.has(at.step, FULL_VALID_LOSS):
            _everything(run, at)
        if at.ends_epoch:
            speak.speak(run, at)
        return
    due = config.every_steps and at.step % config.every_steps == 0
    if due and run.data.valid and not run.journal.has(at.step, VALID_LOSS):
        _sample(run, at)


def _everything(run: Training, at: Progress) -> None:
    name = f"epoch{at.epoch}" if at.step else BASE
    scores = _evaluate(run, at, run.data.valid, f"held-out, {name}")
    run.journal.score(name, at.step, scores)
    run.journal.measure(
        {
            "step": at.step,
            "epoch": float(at.epoch),
            FULL_VALID_LOSS: scores.total.mean_loss,
            "full_valid_mean_token_accuracy": scores.total.accuracy,
        }
    )
    say(f"train: held-out loss, {name}: {scores.total.mean_loss:.3f}")


def _sample(run: Training, at: Progress) -> None:
    total = _evaluate(run, at, run.data.valid[: run.config.eval.sample_rows], "valid").total
    run.journal.measure(
        {
            "step": at.step,
            "epoch": run.steps[at.step - 1].epochs_done,
            VALID_LOSS: total.mean_loss,
            "valid_mean_token_accuracy": total.accuracy,
        }
    )


def _evaluate(run: Training, at: Progress, examples: Sequence[Example], label: str) -> Scores:
    def between() -> None:
        # Several processes would have to agree on it between all passes: they stop at a step's end.
        if run.stop.raised and run.processes.count == 1:
            raise Interrupted

    run.journal.doing(Doing.measuring, at)
    how = Evaluation(
        micro_batch=run.config.eval.micro_batch,
        pad_id=run.pad_id,
        precision=run.precision,
        processes=run.processes,
        between=between,
    )
    return evaluate(run.model, examples, how, label)
