"""Loss and gradients on a GPU, in every number format, against fp32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from understudy.config.model import Dtype
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.loss import token_losses
from understudy.train.precision import Precision

pytestmark = pytest.mark.gpu

Small = Callable[..., Any]

ROUNDING = {Dtype.fp32: 1e-3, Dtype.bf16: 5e-2, Dtype.fp16: 1e-2}
"""Relative to what fp32 gives on a CPU; bf16 has 8 bits of precision, fp16 has 11."""


def gradients(
    model: Any, lines: list[list[Example]], dtype: Dtype, *, scaled: bool = True
) -> tuple[Any, Any]:
    """Losses of the labelled tokens, and the gradient of their sum in one vector, both fp64."""
    import torch

    precision = Precision(dtype, model.device.type)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    with precision.computing():
        losses_n = token_losses(model, collate(lines, 0, model.device)).losses_n
        # The scale is for the mean, as the loop has it.
        loss = losses_n.mean()
    if scaled:
        precision.backward(loss)
        precision.unscale(optimizer)
    else:
        loss.backward()
    found = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient.dtype is torch.float32 for gradient in found)
    return losses_n.detach().double().cpu(), torch.cat([g.flatten() for g in found]).double().cpu()


def apart(found: Any, expected: Any) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", list(Dtype), ids=lambda dtype: dtype.name)
def test_loss_and_gradients_are_those_of_fp32_on_a_cpu(
    small: Small, examples: list[Example], dtype: Dtype
) -> None:
    lines = [[example] for example in examples]
    expected = gradients(small(on="cpu"), lines, Dtype.fp32)
    found = gradients(small(dtype.value), lines, dtype)
    assert apart(found[0], expected[0]) < ROUNDING[dtype]
    assert apart(found[1], expected[1]) < ROUNDING[dtype]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", list(Dtype), ids=lambda dtype: dtype.name)
def test_packed_rows_have_the_loss_and_gradients_of_rows_alone(
    small: Small, examples: list[Example], dtype: Dtype, *, checkpointing: bool
) -> None:
    model = small(dtype.value)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    packed = gradients(model, [examples[:2], examples[2:]], dtype)
    model.zero_grad()
    alone = gradients(model, [[example] for example in examples], dtype)
    assert apart(packed[0], alone[0]) < ROUNDING[dtype]
    assert apart(packed[1], alone[1]) < ROUNDING[dtype]


@pytest.mark.parametrize("dtype", list(Dtype), ids=lambda dtype: dtype.name)
def test_a_packed_row_does_not_see_the_one_before_it(
    small: Small, examples: list[Example], dtype: Dtype
) -> None:
    """Other words in the first row, the same losses in the second."""
    model = small(dtype.value)
    first, second = examples[:2]
    other = Example(
        ids=[token - 1 for token in first.ids],
        labels=first.labels,
        item=first.item,
        speakers=[],
        voices=first.voices,
    )
    one, two = (gradients(model, [[row, second]], dtype)[0] for row in (first, other))
    behind = second.supervised
    assert (one[:-behind] - two[:-behind]).abs().max() > 0.01
    assert (one[-behind:] - two[-behind:]).abs().max() < 1e-6


def test_fp16_keeps_gradients_that_would_vanish_unscaled(
    small: Small, examples: list[Example]
) -> None:
    """A loss a million times smaller: scaled, its gradients are right, unscaled they are not."""
    import torch

    lines = [[example] for example in examples]
    _, expected = gradients(small(on="cpu"), lines, Dtype.fp32)
    model = small("float16")
    tiny = 1e-6
    errors = []
    for scaled in (True, False):
        precision = Precision(Dtype.fp16, model.device.type)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        optimizer.zero_grad()
        with precision.computing():
            loss = tiny * token_losses(model, collate(lines, 0, model.device)).losses_n.mean()
        if scaled:
            precision.backward(loss)
            precision.unscale(optimizer)
        else:
            loss.backward()
        found = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
        errors.append(apart(found.double().cpu() / tiny, expected))
    assert errors[0] < ROUNDING[Dtype.fp16]
    assert errors[1] > 3 * errors[0]


def test_fp16_takes_no_step_after_an_overflow_and_halves_its_scale(small: Small) -> None:
    import torch

    model = small("float16")
    precision = Precision(Dtype.fp16, model.device.type)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1, fused=True)
    before = [p.detach().clone() for p in trained]
    scale = precision.scale
    assert scale is not None
    for factor in (1e35, 1.0):
        precision.backward(sum(p.sum() for p in trained) * factor)
        precision.unscale(optimizer)
        precision.step(optimizer)
        optimizer.zero_grad()
        moved = any(bool((p != old).any()) for p, old in zip(trained, before, strict=True))
        assert moved == (factor == 1.0)
        assert precision.scale == scale / 2


@pytest.mark.parametrize("dtype", [Dtype.bf16, Dtype.fp16], ids=lambda dtype: dtype.name)
def test_no_pass_waits_for_the_card(
    small: Small, examples: list[Example], dtype: Dtype, device: str
) -> None:
    """A read in the middle of a step would leave the card idle until the next pass is laid out."""
    import torch

    model = small(dtype.value)
    lines = [examples[:2], examples[2:]]
    # Once before: libraries look around at their first call.
    gradients(model, lines, dtype, scaled=False)
    batch = collate(lines, 0, device)
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        batch = collate(lines, 0, device)
        with Precision(dtype, device).computing():
            losses_n = token_losses(model, batch).losses_n
        losses_n.sum().backward()
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert bool(losses_n.isfinite().all())
