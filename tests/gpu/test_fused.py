"""Fused kernels compiled for this card compute what transformers computes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from understudy.config.model import Dtype
from understudy.kernels import fused
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.loss import token_losses
from understudy.train.precision import Precision

pytestmark = pytest.mark.gpu

Small = Callable[..., Any]


def gradients(model: Any, lines: list[list[Example]], dtype: Dtype) -> Any:
    """The mean loss of the labelled tokens, and its gradient, in one fp64 vector."""
    import torch

    model.zero_grad()
    with Precision(dtype, model.device.type).computing():
        loss = token_losses(model, collate(lines, 0, model.device)).losses_n.mean()
    loss.backward()
    found = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
    return torch.cat([loss.detach()[None], *found]).double()


def apart(found: Any, expected: Any) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(autouse=True)
def _needs_kernels(device: str) -> None:
    if find_spec("liger_kernel") is None:
        pytest.skip("liger-kernel is not installed: pip install 'understudy[gpu]'")
    if device != "cuda":
        pytest.skip("fused kernels are compiled for a CUDA device")


@pytest.mark.parametrize("dtype", [Dtype.fp32, Dtype.bf16], ids=lambda dtype: dtype.name)
def test_fused_kernels_are_no_further_from_fp32_than_plain_ones(
    small: Small, examples: list[Example], dtype: Dtype
) -> None:
    # Two rows in each line, the lines of different rows.
    lines = [examples[:2], examples[2:]]
    exact = gradients(small(), lines, Dtype.fp32)
    model = small("float32" if dtype is Dtype.fp32 else "bfloat16")
    plain = gradients(model, lines, dtype)
    said = fused.put_on(model)
    assert said.startswith("kernels: liger-kernel "), said
    assert "5 norms" in said
    assert apart(gradients(model, lines, dtype), exact) < 1.5 * apart(plain, exact) + 1e-4
    fused.take_off(model)
    assert not any("forward" in module.__dict__ for module in model.modules())
