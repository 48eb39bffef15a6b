"""The forward passes that take most memory, tried before step 1: what does not fit fails now."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter

from understudy.console import RunFailedError, UserError, say
from understudy.train import recompute, rng
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.evaluate import in_passes
from understudy.train.layout import Line, lay_out, tokens
from understudy.train.loop import peak_memory_bytes
from understudy.train.loss import token_losses
from understudy.train.memory import MemoryPlan
from understudy.train.optimizer import set_rate
from understudy.train.plan import Step
from understudy.train.precision import Precision
from understudy.train.step import clip, forward_backward
from understudy.train.training import Training

NAMED_ROWS = 3
"""Most rows that a message lists one by one."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How torch, bitsandbytes and cuBLAS say so where the error has no class of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One forward pass."""

    lines: Sequence[Line]
    tokens: int
    """Padding included."""
    labels: int

    @property
    def shape(self) -> str:
        """`2 x 4,096 tokens`."""
        return f"{len(self.lines):,} x {self.tokens // len(self.lines):,} tokens"


LEAST_TILED = 2048
"""Tokens of a pass from which on tiles of its MLPs save something worth having."""
ORDERS = (attrgetter("tokens", "labels"), attrgetter("labels", "tokens"))


def check(trial: Training) -> None:
    """Train on the longest batch, measure on the longest held-out one, and say what they take.

    Args:
        trial: The run with an optimiser of its own, which `make_state` was given. The weights
            stay as they are, to the bit, and so do the random generators.

    Raises:
        UserError: the memory does not suffice; the message says what to lower.
        RunFailedError: loss or gradient norm is not finite, or nothing has a gradient.
    """
    with rng.given_back():
        batches = heaviest(trial.data.train, trial.steps, trial.memory, trial.config.model.context)
        taken = [_learn(trial, batch) for batch in batches]
        trial.optimizer.zero_grad(set_to_none=True)
        did = f"forward and backward {taken[0][0]:.1f} s"
        _tell(trial, "longest batch", batches[0], f"{did}, {_memory(max(p for _, p in taken))}")
        measured = longest_measured(trial)
        if measured is not None:
            seconds, peak = _measure(trial, measured)
            did = f"forward {seconds:.1f} s"
            _tell(trial, "longest held-out batch", measured, f"{did}, {_memory(peak)}")


# --- which ---


def heaviest(
    examples: Sequence[Example], steps: Sequence[Step], memory: MemoryPlan, context: int
) -> list[Pass]:
    """The pass of the plan with the most tokens, and the one with the most labels if it is another.

    Logits are made where a label is, and each of them is as long as the vocabulary.

    Args:
        examples: The rows that are learned.
        steps: The plan.
        memory: How a step is laid out.
        context: Most tokens in a line of packed rows.
    """
    labels = {id(example): example.supervised for example in examples}
    best: list[Pass] = []
    for step in steps:
        rows = [examples[row] for row in step.rows]
        limit = _limit(rows, labels, memory, context)
        if best and all(order(limit) <= order(b) for order, b in zip(ORDERS, best, strict=True)):
            continue
        passes = [_pass(lines, labels) for lines in lay_out(rows, memory, context)]
        best = [max([*best[i : i + 1], *passes], key=order) for i, order in enumerate(ORDERS)]
    longest, fullest = best
    return [longest] if fullest.labels == longest.labels else best


def _limit(
    rows: Sequence[Example], labels: dict[int, int], memory: MemoryPlan, context: int
) -> Pass:
    """What no pass of a step can exceed: most steps need not be laid out for it."""
    lengths = [len(row.ids) for row in rows]
    counts = sorted((labels[id(row)] for row in rows), reverse=True)
    if memory.packing:
        line = max(memory.line_tokens or context, *lengths)
        reach = memory.micro_batch * min(line, sum(lengths))
        return Pass(lines=(), tokens=reach, labels=sum(counts))
    size = min(memory.micro_batch, len(rows))
    return Pass(lines=(), tokens=size * max(lengths), labels=sum(counts[:size]))


def _pass(lines: Sequence[Line], labels: dict[int, int]) -> Pass:
    return Pass(
        lines=lines,
        tokens=len(lines) * max(tokens(line) for line in lines),
        labels=sum(labels[id(row)] for line in lines for row in line),
    )


def longest_measured(run: Training) -> Pass | None:
    """The pass with the most tokens of all that measure; None where nothing is measured."""
    config, valid = run.config.eval, run.data.valid
    sides = [valid] if config.full else []
    sides += [valid[: config.sample_rows]] if config.every_steps else []
    passes = [chunk for side in sides for chunk in in_passes(side, config.micro_batch)]
    labels = {id(example): example.supervised for example in valid}
    found = [_pass([[example] for example in chunk], labels) for chunk in passes]
    return max(found, key=ORDERS[0], default=None)


# --- tried ---


def make_state(trial: Training) -> None:
    """A step of the optimiser that moves no weight: its rate and all gradients are zero.

    Afterwards its state is there, and so are the (zero) gradients, as in all passes of a run but
    the first: both take memory, and the state is most of a checkpoint.

    Raises:
        UserError: the memory does not suffice; the message says what to lower.
    """
    import torch

    with explained(_too_much_to_learn(trial)):
        set_rate(trial.optimizer, 0.0)
        for parameter in trial.trained:
            parameter.grad = torch.zeros_like(parameter)
        trial.optimizer.step()


def _learn(trial: Training, batch: Pass) -> tuple[float, int]:
    """Forward and backward as in training; seconds and bytes at the peak."""
    precision = Precision(trial.config.model.dtype, trial.model.device.type)
    attempt = replace(trial, precision=precision)
    _forget_peak()
    with explained(too_long_to_learn(trial, trial.memory, batch)):
        while True:
            began = time.monotonic()
            loss = float(forward_backward(attempt, batch.lines, batch.labels)[0]) / batch.labels
            precision.unscale(attempt.optimizer)
            norm = clip(attempt)
            seconds = time.monotonic() - began
            if math.isfinite(norm) or not math.isfinite(loss) or precision.exhausted:
                break
            # Loss scaling begins high: the first overflows are no fault.
            precision.step(attempt.optimizer)
            attempt.optimizer.zero_grad(set_to_none=False)
    trial.optimizer.zero_grad(set_to_none=False)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise RunFailedError(_not_finite(trial, batch, f"loss {loss:g} or gradient norm {norm:g}"))
    if norm == 0:
        raise RunFailedError(
            f"no trained weight has a gradient on the longest batch ({_rows(trial, batch)}), whose "
            f"loss is {loss:g}: nothing would be learned. Train other layers (adapter.targets)."
        )
    return seconds, peak_memory_bytes()


def _measure(trial: Training, batch: Pass) -> tuple[float, int]:
    """Forward only, as in measuring; seconds and bytes at the peak."""
    import torch

    model = trial.model
    was_training = model.training
    _forget_peak()
    model.eval()
    try:
        with explained(_too_long_to_measure(trial, batch)), torch.no_grad():
            began = time.monotonic()
            on_device = collate(batch.lines, trial.pad_id, model.device)
            with trial.precision.computing():
                loss = float(token_losses(model, on_device).losses_n.mean())
            seconds = time.monotonic() - began
    finally:
        model.train(was_training)
    if not math.isfinite(loss):
        raise RunFailedError(_not_finite(trial, batch, f"held-out loss {loss:g}"))
    return seconds, peak_memory_bytes()


def _forget_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


# --- said ---


def _tell(run: Training, what: str, batch: Pass, took: str) -> None:
    if run.processes.first:
        say(f"train: {what}: {batch.shape} ({_rows(run, batch)}), {took}")


def _memory(peak: int) -> str:
    import torch

    whose = "of the GPU " if torch.cuda.is_available() else ""
    return f"peak memory {whose}{peak / 2**30:.1f} GiB"


def _rows(run: Training, batch: Pass) -> str:
    """`row 17 of episode-3`; by the numbers of `plan.jsonl` where they are learned from."""
    every = [row for line in batch.lines for row in line]
    number = {id(e): n for side in (run.data.train, run.data.valid) for n, e in enumerate(side)}
    longest = max(every, key=lambda row: len(row.ids))
    if len(every) > NAMED_ROWS:
        return f"{len(every)} rows, the longest is row {number[id(longest)]} of {longest.item}"
    by_item: dict[str, list[str]] = {}
    for row in every:
        by_item.setdefault(row.item, []).append(str(number[id(row)]))
    named = ", ".join(f"{', '.join(numbers)} of {item}" for item, numbers in by_item.items())
    return f"{'row' if len(every) == 1 else 'rows'} {named}"


def _not_finite(run: Training, batch: Pass, what: str) -> str:
    return (
        f"{what} is not finite before step 1, {_rows(run, batch)}: look at these rows and at the "
        f"base's weights, or try another model.dtype (it is {run.config.model.dtype.name})."
    )


@contextmanager
def explained(message: str) -> Iterator[None]:
    """Turn running out of memory into a message that says what to lower.

    Raises:
        UserError: the memory does not suffice.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(message) from None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether this is how a library says that the memory does not suffice."""
    import torch

    known = isinstance(error, torch.cuda.OutOfMemoryError)
    return known or any(text in str(error) for text in OUT_OF_MEMORY)


def _too_much_to_learn(run: Training) -> str:
    smaller = "adapter.blocks" if run.config.adapter.blocks else "adapter.r"
    return (
        f"the optimiser's state does not fit into {_room(run)}. Use optim=paged_adamw_8bit, or "
        f"train less: a smaller {smaller}."
    )


def too_long_to_learn(run: Training, memory: MemoryPlan, batch: Pass) -> str:
    """What to lower where a pass does not fit under a plan: first what helps most, changing least.

    Args:
        run: The run.
        memory: The plan that was too much.
        batch: The pass.
    """
    import torch

    context = run.config.model.context
    ways = []
    if memory.micro_batch > 1:
        ways.append(f"memory.micro_batch=1 (it is {memory.micro_batch}; nothing else changes)")
    blocks = len(recompute.blocks(run.model))
    if memory.checkpointed_blocks == 0 and blocks:
        choice = "memory.checkpointing=true" if memory.packing else "memory=small_card"
        ways.append(f"{choice} (slower, and nothing else changes)")
    elif memory.checkpointed_blocks < blocks:
        ways.append("memory.checkpointed_blocks=null (slower, and nothing else changes)")
    if memory.packing:
        ways.append("memory.packing=false (slower, and nothing else changes)")
    if torch.cuda.is_available() and not memory.offload:
        ways.append("memory.checkpointing=true memory.offload=true (slower still)")
    if memory.mlp_tile is None and batch.tokens > LEAST_TILED and recompute.can_tile(run.model):
        ways.append(f"memory.mlp_tile={LEAST_TILED} (slower still)")
    ways.append(f"a smaller model.context (it is {context:,}; the rows are then prepared shorter)")
    budget = run.config.memory.budget_gib
    more = "" if budget is None else f" Or allow more than memory.budget_gib={budget:g}."
    return (
        f"the longest batch, {batch.shape} ({_rows(run, batch)}), does not fit into {_room(run)}. "
        f"Lower, in this order: {'; '.join(ways)}.{more}"
    )


def _too_long_to_measure(run: Training, batch: Pass) -> str:
    size, context = run.config.eval.micro_batch, run.config.model.context
    ways = [f"eval.micro_batch=1 (it is {size}; no figure changes)"] if size > 1 else []
    ways.append(f"a smaller model.context (it is {context:,}; the rows are then prepared shorter)")
    return (
        f"the longest held-out batch, {batch.shape} ({_rows(run, batch)}), does not fit into "
        f"{_room(run)}. Lower, in this order: {'; '.join(ways)}."
    )


def _room(run: Training) -> str:
    import torch

    budget = run.config.memory.budget_gib
    if budget is not None and not (torch.cuda.is_available() and budget * 2**30 > _gpu_bytes()):
        return f"memory.budget_gib={budget:g}"
    if not torch.cuda.is_available():
        return "this machine's memory"
    return f"the GPU's {_gpu_bytes() / 2**30:.1f} GiB"


def _gpu_bytes() -> int:
    import torch

    return int(torch.cuda.get_device_properties().total_memory)
