"""On a real card: attention by torch's flash kernel for rows of any length, and row by row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.kernels import attention
from understudy.kernels.blockwise import Blockwise
from understudy.kernels.rows import Rows, Span

pytestmark = pytest.mark.gpu

SPANS = (Span(0, 0, 300), Span(0, 300, 341), Span(1, 0, 257))
BOUNDS = (0, 300, 341, 598, 682)
"""Two lines of 341 tokens; the second ends in padding."""


def made(device: str, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    shapes = ((8, 2.0), (2, 1.0), (2, 1.0))
    found = [
        torch.randn(2, 341, heads, 64, generator=generator).transpose(1, 2) * size
        for heads, size in shapes
    ]
    found.append(torch.randn(2, 341, 8, 64, generator=generator))
    return [each.to(device, dtype) for each in found]


def learned(attend: Callable[..., Tensor], device: str, dtype: torch.dtype) -> list[Tensor]:
    *states, grad = made(device, dtype)
    inputs = [each.requires_grad_() for each in states]
    found = attend(*inputs)
    # What comes out where the padding is has no meaning.
    grad[1, 257:] = 0
    grads = torch.autograd.grad(found, inputs, grad)
    return [found.detach()[0], found.detach()[1, :257], *grads]


def apart(ones: list[Tensor], others: list[Tensor]) -> float:
    return max(
        float((one.cpu().double() - other.cpu().double()).norm() / other.cpu().double().norm())
        for one, other in zip(ones, others, strict=True)
    )


@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize("by", ["flash", "row_by_row"])
def test_each_row_sees_itself_alone(by: str, window: int | None, device: str) -> None:
    scale = 1 / math.sqrt(64)
    exact = learned(lambda *x: Blockwise.apply(*x, SPANS, scale, window), "cpu", torch.float64)
    rows = Rows(SPANS, torch.tensor(BOUNDS, dtype=torch.int32, device=device), 300)
    if by == "flash" and not attention._has_flash(torch.zeros(1, 1, device=device).bfloat16()):
        pytest.skip("the flash kernel is for CUDA cards of 2020 and later")
    compute: Any = getattr(attention, f"_{by}")
    found = learned(lambda q, k, v: compute(q, k, v, rows, scale, window), device, torch.bfloat16)
    assert apart(found, exact) < 0.01


def test_the_card_is_asked_for_the_kernel_it_has(device: str) -> None:
    half, whole = (torch.zeros(1, device=device, dtype=d) for d in (torch.bfloat16, torch.float32))
    on_cuda = device == "cuda"
    newer = on_cuda and torch.cuda.get_device_capability() >= attention.FLASH_CAPABILITY
    assert attention._has_flash(half) == newer
    assert not attention._has_flash(whole)
