"""A linear layer and its LoRA in one function, against peft's own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import by_hand
import peft
import pytest
import torch
from torch import Tensor, nn

from understudy.config.model import Dtype
from understudy.kernels import lora
from understudy.train.precision import Precision


class Stack(nn.Module):
    """Two layers, so that a gradient goes through the second into the first."""

    def __init__(self, linear: Callable[..., nn.Module], *, bias: bool) -> None:
        super().__init__()
        self.one = linear(64, 128, bias=bias)
        self.two = linear(128, 64, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.nn.functional.silu(self.one(x)))  # type: ignore[no-any-return]


def nf4(width: int, out: int, *, bias: bool) -> nn.Module:
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(
        width, out, bias=bias, compute_dtype=torch.float32, quant_type="nf4",
        compress_statistics=True,
    )  # fmt: skip
    layer.support_avx512bf16_for_cpu = False
    return layer


def adapted(
    linear: Callable[..., nn.Module] = nn.Linear, *, bias: bool = False, **settings: Any
) -> Any:
    torch.manual_seed(3)
    stack = Stack(linear, bias=bias).to("cpu").requires_grad_(requires_grad=False)
    config = peft.LoraConfig(
        r=4, lora_alpha=12, target_modules=["one", "two"], init_lora_weights=False, **settings
    )
    return peft.get_peft_model(stack, config).train()


def learned(model: Any, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Output and gradients, the input's too."""
    torch.manual_seed(4)
    x = torch.randn(2, 9, 64, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
        y = model(x)
    y.square().sum().backward()
    assert x.grad is not None
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(grad is not None for grad in grads)
    return [y.detach(), x.grad, *grads]


def apart(ones: list[Tensor], others: list[Tensor]) -> float:
    pairs = zip(ones, others, strict=True)
    return max(float((one - other).norm() / other.norm()) for one, other in pairs)


@pytest.mark.parametrize("linear", [nn.Linear, nf4])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("settings", [{}, {"lora_dropout": 0.3}, {"use_rslora": True}])
def test_it_computes_what_peft_computes(
    linear: Callable[..., nn.Module], settings: dict[str, Any], *, bias: bool
) -> None:
    """Dropout draws the same numbers."""
    plain = adapted(linear, bias=bias, **settings)
    ours = copy.deepcopy(plain)
    assert lora.put_on(ours) == 2
    assert apart(learned(ours), learned(plain)) < 2e-6


def test_under_autocast_it_is_nearer_to_the_truth_than_peft() -> None:
    exact = learned(adapted())
    plain = adapted()
    for layer in (plain.base_model.model.one, plain.base_model.model.two):
        layer.base_layer.to(torch.bfloat16)
    ours = copy.deepcopy(plain)
    lora.put_on(ours)
    far = [
        apart([x.float() for x in learned(model, torch.bfloat16)], exact) for model in (plain, ours)
    ]
    assert far[1] < 1.05 * far[0] < 0.05


def test_a_frozen_input_gets_no_gradient() -> None:
    """As below the first adapted layer: the product that would make one is left out."""
    model = adapted()
    lora.put_on(model)
    model(torch.randn(3, 64)).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_switched_off_merged_or_beside_another_it_is_pefts() -> None:
    plain = adapted()
    ours = copy.deepcopy(plain)
    lora.put_on(ours)
    x = torch.randn(5, 64)
    with plain.disable_adapter(), ours.disable_adapter():
        assert torch.equal(plain(x), ours(x))
    for model in (plain, ours):
        model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["one"]))
        model.set_adapter("other")
    ours.load_state_dict(plain.state_dict())
    assert torch.equal(plain(x), ours(x))
    for model in (plain, ours):
        model.set_adapter("default")
        model.merge_adapter()
    assert torch.equal(plain(x), ours(x))


def test_what_it_does_not_know_stays_pefts() -> None:
    assert lora.put_on(adapted(use_dora=True)) == 0
    model = adapted()
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["one"]))
    assert lora.put_on(model) == 1


@pytest.mark.parametrize("dtype", [Dtype.fp32, Dtype.bf16])
def test_a_whole_model_learns_the_same(dtype: Dtype) -> None:
    found = []
    for fused in (False, True):
        model = by_hand.with_lora(by_hand.random_model(dtype=dtype))
        if fused:
            assert lora.put_on(model) == 14
        with Precision(dtype, "cpu").computing():
            logits = model(input_ids=torch.arange(3, 40)[None]).logits
        logits.float().square().sum().backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    assert apart(found[1], found[0]) < (1e-5 if dtype is Dtype.fp32 else 0.05)
