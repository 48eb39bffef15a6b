"""bitsandbytes' 4-bit kernels against what the papers say, computed plainly on the CPU."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.gpu

# Dettmers et al. 2023, arXiv:2305.14314, appendix E.
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
BLOCK = 64


def drawn(*shape: int) -> Any:
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def apart(found: Any, expected: Any) -> float:
    import torch

    norm = torch.linalg.vector_norm
    return float(norm(found.cpu().double() - expected.double()) / norm(expected.double()))


def reference(weight: Any) -> Any:
    """Each block of 64 divided by its largest magnitude, and the nearest of the 16 values taken."""
    import torch

    blocks = weight.reshape(-1, BLOCK)
    largest = blocks.abs().amax(dim=1, keepdim=True)
    code = torch.tensor(NF4)
    nearest = (blocks / largest)[..., None].sub(code).abs().argmin(dim=-1)
    return (code[nearest] * largest).reshape(weight.shape)


@pytest.mark.parametrize("double", [False, True])
def test_a_weight_comes_back_as_its_nearest_values(device: str, *, double: bool) -> None:
    from bitsandbytes import functional

    weight = drawn(256, 320)
    packed, state = functional.quantize_4bit(
        weight.to(device), blocksize=BLOCK, quant_type="nf4", compress_statistics=double
    )
    found = functional.dequantize_4bit(packed, state)
    assert packed.numel() == weight.numel() / 2
    # The constants themselves are held in 8 bits where they are quantised too.
    assert apart(found, reference(weight)) < (2e-2 if double else 1e-3)
    assert apart(found, weight) < 0.12


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("rows", [1, 33])
def test_a_4_bit_layer_computes_and_passes_gradients_as_its_own_weight_does(
    device: str, dtype: str, rows: int
) -> None:
    """With gradients and without it takes different kernels; the weight itself gets none."""
    import torch
    from bitsandbytes import functional, nn

    kind = getattr(torch, dtype)
    how: Any = {"compress_statistics": True, "quant_type": "nf4"}
    layer = nn.Linear4bit(320, 256, bias=False, compute_dtype=kind, **how)
    layer.weight = nn.Params4bit(drawn(256, 320).to(kind), requires_grad=False, **how)
    layer = layer.to(device)
    weight = functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).double().cpu()
    inputs = drawn(1, rows, 320).to(device, kind).requires_grad_()
    expected = inputs.detach().double().cpu() @ weight.T
    out = layer(inputs)
    assert apart(out.detach(), expected) < 1e-2
    slope = drawn(1, rows, 256).to(device, kind)
    out.backward(slope)
    assert inputs.grad is not None
    assert apart(inputs.grad, slope.double().cpu() @ weight) < 1e-2
    assert layer.weight.grad is None
    with torch.no_grad():
        assert apart(layer(inputs), expected) < 1e-2
