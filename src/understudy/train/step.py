"""One optimiser step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from understudy.config.model import Dtype
from understudy.console import RunFailedError
from understudy.train import rng
from understudy.train.batch import collate
from understudy.train.evaluate import Sums
from understudy.train.layout import Line, lay_out
from understudy.train.loss import token_losses
from understudy.train.optimizer import set_rate
from understudy.train.plan import Step, warmup_steps
from understudy.train.schedule import factor
from understudy.train.stop import Interrupted
from understudy.train.training import Training


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What a step found."""

    sums: Sums
    grad_norm: float
    """Before clipping."""
    learning_rate: float


def take(run: Training, step: Step) -> Taken:
    """One step over all its rows: the gradient of the summed loss over their supervised tokens.

    The sum is divided by the count of the whole step, over all its forward passes and processes, so
    that laying the rows out differently changes nothing.

    Raises:
        RunFailedError: loss or gradient norm is not finite.
        Interrupted: a stop was asked for; the step is undone.
    """
    examples = [run.data.train[row] for row in step.rows]
    rate = learning_rate(run, step.number)
    set_rate(run.optimizer, rate)
    passes = lay_out(examples, run.memory, run.config.model.context)
    supervised = sum(example.supervised for example in examples)
    before = rng.state()
    while True:
        try:
            sums = accumulate(run, passes, supervised)
        except Interrupted:
            run.optimizer.zero_grad(set_to_none=True)
            rng.restore(before)
            raise
        run.precision.unscale(run.optimizer)
        norm = clip(run)
        overflowed = math.isfinite(sums.loss) and not math.isfinite(norm)
        if not overflowed or run.precision.exhausted:
            break
        _halve(run, step)
        rng.restore(before)
    if not (math.isfinite(sums.loss) and math.isfinite(norm)):
        raise RunFailedError(_not_finite(run, step, sums.mean_loss, norm))
    run.precision.step(run.optimizer)
    run.optimizer.zero_grad(set_to_none=True)
    return Taken(sums=sums, grad_norm=norm, learning_rate=rate)


def learning_rate(run: Training, number: int) -> float:
    """Learning rate of a step, counted from 1."""
    config = run.config
    return config.optim.peak * factor(
        number,
        steps=len(run.steps),
        warmup=warmup_steps(config.schedule, len(run.steps)),
        shape=config.schedule.shape,
    )


def accumulate(run: Training, passes: Sequence[Sequence[Line]], supervised: int) -> Sums:
    """Gradients and sums of all forward passes, this process's share of them and the others'.

    Raises:
        Interrupted: a stop was asked for between two passes.
    """
    import torch

    # On the device, and read once a step: each read would make the GPU wait.
    found = torch.zeros(2, dtype=torch.float64, device=run.model.device)
    for lines in run.processes.share(passes):
        if run.stop.raised and run.processes.count == 1:
            # On a slow card a step takes minutes, and whoever sends the signal waits for seconds.
            raise Interrupted
        found += forward_backward(run, lines, supervised)
    run.processes.sum_gradients(run.trained)
    loss, correct = run.processes.sum(found).tolist()
    return Sums(loss=loss, correct=int(correct), tokens=supervised)


def forward_backward(run: Training, lines: Sequence[Line], supervised: int) -> Any:  # noqa: ANN401
    """Add one pass's part to the gradients.

    Returns:
        Its summed loss and how many tokens were right, a tensor of two fp64.
    """
    import torch

    batch = collate(lines, run.pad_id, run.model.device)
    with run.precision.computing():
        result = token_losses(run.model, batch, neftune_alpha=run.config.optim.neftune_alpha)
        loss = result.losses_n.sum()
    run.precision.backward(loss / supervised)
    return torch.stack([loss.detach().double(), result.correct_n.sum().double()])


def clip(run: Training) -> float:
    """Scale the gradients down to `optim.clip`; their norm before that."""
    import torch

    limit = math.inf if run.config.optim.clip is None else run.config.optim.clip
    return float(torch.nn.utils.clip_grad_norm_(run.trained, limit))


def _halve(run: Training, step: Step) -> None:
    """Make ready to compute the step again at half the loss scale: no row is lost."""
    before = run.precision.scale
    run.precision.halve()
    run.optimizer.zero_grad(set_to_none=True)
    run.journal.message(
        f"step {step.number} overflowed at loss scale {before:g}: again at {run.precision.scale:g}"
    )


def _not_finite(run: Training, step: Step, loss: float, norm: float) -> str:
    items = ", ".join(sorted({run.data.train[row].item for row in step.rows}))
    half = run.config.model.dtype is Dtype.fp16
    other = ", or try model.dtype=bf16 or fp32, which reach further than fp16" if half else ""
    return (
        f"loss {loss:g} or gradient norm {norm:g} is not finite at step {step.number}, "
        f"rows {list(step.rows)} of {items}: lower optim.lr, or look at these rows{other}."
    )
