"""Whether our kernels learn what the model's own would: measured, on the machine that trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from understudy.console import UserError
from understudy.train import rng
from understudy.train.batch import Batch, collate
from understudy.train.data import Example
from understudy.train.loss import head, hidden_states, kind, token_losses
from understudy.train.training import Training

if TYPE_CHECKING:
    from torch import Tensor

MOST_TOKENS = 256
STEPS = 32
LEAST = 1e-3
"""Most that the two gradients may differ, relative to their size: so many steps of the number
format, and at least this much. On the 30 layers of SmolLM2 they differ by 8 steps in bf16 and fp16,
and each of them is 6 from fp32. A mask, a scale or a factor that is wrong makes 30 % and more."""


def check(run: Training) -> None:
    """Compare the gradient of everything that is trained, by our kernels and without them.

    Weights, mode, gradients and random generators are left as they were.

    Raises:
        UserError: they differ by more than rounding explains.
    """
    import torch

    batch = collate([_rows(run)], run.pad_id, run.model.device)
    was_training = run.model.training
    # Dropout would have to draw the same numbers in another order.
    run.model.eval()
    try:
        with rng.given_back():
            ours = _gradient(run, batch, plain=False)
            with _plain(run.model):
                theirs = _gradient(run, batch, plain=True)
    finally:
        run.model.train(was_training)
    size = torch.linalg.vector_norm(theirs)
    difference = float(torch.linalg.vector_norm(ours - theirs) / size) if size else 0.0
    step = torch.finfo(getattr(torch, run.precision.dtype.value)).eps
    bound = max(LEAST, STEPS * step)
    if not difference <= bound:
        raise UserError(
            f"on this machine {kind(run.model)} would learn something else with our kernels than "
            f"without them: gradients differ by {difference:.2g} of their size, and rounding "
            f"explains {bound:.2g}. Set memory.attention=sdpa memory.fused=false."
        )


def _rows(run: Training) -> Sequence[Example]:
    """The shortest two rows that learn, cut to some tokens; alone where nothing is packed."""
    rows = sorted(run.data.train, key=lambda row: len(row.ids))[: 2 if run.memory.packing else 1]
    return [_cut(row) for row in rows]


def _cut(row: Example) -> Example:
    """Its first tokens; the last one is learned whatever its label, so that there is something."""
    ids, labels = row.ids[:MOST_TOKENS], row.labels[:MOST_TOKENS]
    labels[-1] = ids[-1]
    return Example(ids=ids, labels=labels, item=row.item, speakers=[], voices=[-1] * len(ids))


def _gradient(run: Training, batch: Batch, *, plain: bool) -> Tensor:
    """Of the summed loss, all trained weights in one vector, fp32."""
    import torch

    with run.precision.computing():
        if plain:
            losses_n = _plain_losses(run.model, batch)
        else:
            losses_n = token_losses(run.model, batch).losses_n
    # The sum: the gradient of a mean would be lost below the smallest numbers of fp16.
    found = torch.autograd.grad(losses_n.sum(), run.trained, allow_unused=True)
    return torch.cat([grad.float().flatten() for grad in found if grad is not None])


def _plain_losses(model: Any, batch: Batch) -> Tensor:  # noqa: ANN401
    from understudy.kernels.head_loss import all_at_once

    hidden_nh = hidden_states(model, batch).flatten(0, 1).index_select(0, batch.places_n)
    losses_n, _ = all_at_once(lambda states_nh: head(model, states_nh), hidden_nh, batch.labels_n)
    return losses_n


@contextmanager
def _plain(model: Any) -> Iterator[None]:  # noqa: ANN401
    """While open, attention is transformers' own and LoRA is peft's."""
    from understudy.kernels import attention, lora

    text = model.config.get_text_config()
    before = text._attn_implementation  # noqa: SLF001
    if before == attention.NAME:
        text._attn_implementation = attention.plain(model)  # noqa: SLF001
    count = lora.take_off(model)
    try:
        yield
    finally:
        text._attn_implementation = before  # noqa: SLF001
        if count:
            lora.put_on(model)
