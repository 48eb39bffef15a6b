"""The training loop."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.artifacts import Identity
from understudy.config import Config
from understudy.console import RunFailedError, Stopped, progress
from understudy.records.checkpoints import BASE, Progress
from understudy.train import checkpoint as checkpoints
from understudy.train.batch import collate
from understudy.train.data import Dataset, Example
from understudy.train.evaluate import Scores, Sums, evaluate
from understudy.train.journal import Journal, State
from understudy.train.loss import token_losses
from understudy.train.plan import Step, warmup_steps
from understudy.train.schedule import factor
from understudy.train.stop import Flag


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Everything a run works with."""

    config: Config
    identity: Identity
    folder: Path
    journal: Journal
    model: Any
    optimizer: Any
    data: Dataset
    steps: Sequence[Step]
    pad_id: int
    stop: Flag


def fit(run: Training, start: Progress | None) -> Progress:
    """Train from `start` (None: from the beginning) to the end of the plan.

    Raises:
        Stopped: a signal asked to stop; the state is saved.
        RunFailedError: loss or gradient norm is not finite.
    """
    at = start or Progress(step=0, epoch=0, ends_epoch=False, tokens=0)
    if start is None and run.data.valid:
        _measure_all(run, BASE, at)
    saved = time.monotonic()
    note = ""
    with progress("train", len(run.steps), "steps", done=at.step) as bar:
        for step in run.steps[at.step :]:
            began = time.monotonic()
            sums, norm, rate = optimizer_step(run, step)
            seconds = time.monotonic() - began
            at = Progress(
                step=step.number,
                epoch=step.epoch,
                ends_epoch=step.ends_epoch,
                tokens=at.tokens + sums.tokens,
            )
            _note(run, at, sums, norm, rate, seconds)
            if step.ends_epoch:
                note = _end_epoch(run, at)
                saved = time.monotonic()
            elif run.stop or time.monotonic() - saved > 60 * run.config.keep.resume_minutes:
                _save(run, at)
                saved = time.monotonic()
            bar.advance(note=f"loss {sums.mean_loss:.3f}{note}")
            if run.stop and at.step < len(run.steps):
                raise Stopped(f"stopped by {run.stop.signal} after step {at.step}, resumable.")
    return at


def optimizer_step(run: Training, step: Step) -> tuple[Sums, float, float]:
    """One step over all its rows: the gradient of the summed loss over their supervised tokens.

    The sum is divided by the count of the whole step, not of each micro-batch, so that laying the
    rows out differently changes nothing.

    Returns:
        The step's sums, the gradient norm before clipping, and the learning rate.
    """
    import torch

    config = run.config
    examples = [run.data.train[row] for row in step.rows]
    supervised = sum(example.supervised for example in examples)
    rate = config.optim.lr * factor(
        step.number,
        steps=len(run.steps),
        warmup=warmup_steps(config.schedule, len(run.steps)),
        shape=config.schedule.shape,
    )
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    sums = Sums(tokens=supervised)
    for batch in _micro_batches(examples, config.memory.micro_batch):
        result = token_losses(run.model, collate(batch, run.pad_id, run.model.device))
        loss = result.losses_n.sum()
        (loss / max(1, supervised)).backward()
        sums.loss += loss.item()
        sums.correct += int(result.correct_n.sum().item())
    trainable = [p for p in run.model.parameters() if p.requires_grad]
    limit = math.inf if config.optim.clip is None else config.optim.clip
    norm = float(torch.nn.utils.clip_grad_norm_(trainable, limit))
    if not (math.isfinite(sums.loss) and math.isfinite(norm)):
        items = ", ".join(sorted({example.item for example in examples}))
        raise RunFailedError(
            f"loss {sums.loss:g} or gradient norm {norm:g} is not finite at step {step.number}, "
            f"rows {list(step.rows)} of {items}: lower optim.lr, or look at these rows."
        )
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return sums, norm, rate


def _micro_batches(examples: Sequence[Example], size: int) -> list[Sequence[Example]]:
    order = sorted(examples, key=lambda example: len(example.ids))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _note(
    run: Training, at: Progress, sums: Sums, norm: float, rate: float, seconds: float
) -> None:
    epoch = at.step / len(run.steps) * run.config.schedule.epochs
    line = {
        "step": at.step,
        "epoch": round(epoch, 6),
        "train_loss": sums.mean_loss,
        "train_mean_token_accuracy": sums.accuracy,
        "learning_rate": rate,
        "grad_norm": norm,
        "tokens": at.tokens,
    }
    every = run.config.eval.every_steps
    if every and at.step % every == 0 and run.data.valid and not at.ends_epoch:
        sample = _evaluate(run, run.data.valid[: run.config.eval.sample_rows], "valid").total
        line["valid_loss"] = sample.mean_loss
        line["valid_mean_token_accuracy"] = sample.accuracy
    run.journal.measure(line)
    run.journal.time(
        {
            "step": at.step,
            "seconds": seconds,
            "tokens_per_second": sums.tokens / seconds,
            "peak_memory_bytes": peak_memory_bytes(),
        }
    )
    run.journal.status(State.running, step=at.step, steps=len(run.steps), epoch=at.epoch)


def _end_epoch(run: Training, at: Progress) -> str:
    """Measure everything held out, then save: a checkpoint without its score would be a riddle."""
    note = ""
    if run.data.valid:
        total = _measure_all(run, f"epoch{at.epoch}", at).total
        note = f"  held-out {total.mean_loss:.3f}"
    _save(run, at)
    return note


def _measure_all(run: Training, name: str, at: Progress) -> Scores:
    scores = _evaluate(run, run.data.valid, f"held-out, {name}")
    line = {
        "step": at.step,
        "epoch": float(at.epoch),
        "full_valid_loss": scores.total.mean_loss,
        "full_valid_mean_token_accuracy": scores.total.accuracy,
    }
    run.journal.measure(line)
    run.journal.score(name, at.step, scores)
    return scores


def _evaluate(run: Training, examples: Sequence[Example], label: str) -> Scores:
    micro_batch = run.config.eval.micro_batch
    return evaluate(run.model, examples, micro_batch=micro_batch, pad_id=run.pad_id, label=label)


def _save(run: Training, at: Progress) -> None:
    target = run.folder / "checkpoints" / f"step-{at.step:06d}"
    checkpoints.save(target, run.identity, run.model, run.optimizer, at)
    checkpoints.prune(run.folder, run.config.keep)
    run.journal.message(f"saved {target.name}")


def peak_memory_bytes() -> int:
    """Largest memory so far: the GPU's where there is one, else this process's."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
