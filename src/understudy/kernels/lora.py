"""A frozen linear layer and its LoRA (arXiv:2106.09685) in one function of autograd.

    y = W x + s B A d(x)        W frozen, in any format; d dropout

Plain, autograd keeps the scaled and the unscaled half of the sum, adds up two gradients for x in a
buffer of their own, and makes five small nodes for each layer. Here the second half is added by the
matrix product that makes it, forwards and backwards. What a frozen W does not need is not made.

Legend: n tokens, i width of x, o width of y, r rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def put_on(model: Any) -> int:  # noqa: ANN401  # peft has no types
    """Let every LoRA layer of a model compute so; those it cannot take stay peft's own.

    DoRA, layers without a plain or 4-bit linear layer below, and those with several adapters do.

    Returns:
        How many layers compute so now.
    """
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    ours = [layer for layer in layers if _fits(layer)]
    for layer in ours:
        layer.forward = _Forward(layer)
    return len(ours)


def take_off(model: Any) -> int:  # noqa: ANN401
    """Give every layer peft's own function back; how many had ours."""
    count = 0
    for layer in model.modules():
        if isinstance(layer.__dict__.get("forward"), _Forward):
            del layer.forward
            count += 1
    return count


def _fits(layer: Any) -> bool:  # noqa: ANN401
    base = layer.get_base_layer()
    # A subclass may compute something else; bitsandbytes' is known.
    plain = type(base) is nn.Linear or _is_4bit(base)
    frozen = not any(parameter.requires_grad for parameter in base.parameters())
    return plain and frozen and len(layer.lora_A) == 1 and not layer.lora_variant


def _is_4bit(base: nn.Module) -> bool:
    return type(base).__name__ == "Linear4bit" and type(base).__module__.startswith("bitsandbytes")


class _Forward:
    """A LoRA layer's `forward`; where it is not simply on, that of peft."""

    def __init__(self, layer: Any) -> None:  # noqa: ANN401
        self.layer = layer
        self.peft_forward: Callable[..., Tensor] = type(layer).forward
        (self.name,) = layer.lora_A
        self.a, self.b = layer.lora_A[self.name], layer.lora_B[self.name]

    def __call__(self, x: Tensor, *args: Any, **named: Any) -> Tensor:  # noqa: ANN401
        layer = self.layer
        on = (
            not layer.disable_adapters and not layer.merged and layer.active_adapters == [self.name]
        )
        if args or named or not on:
            return self.peft_forward(layer, x, *args, **named)
        dtype = x.dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        elif self.a.weight.dtype != dtype:
            return self.peft_forward(layer, x)
        x = x.to(dtype)
        dropped = layer.lora_dropout[self.name](x)
        scaling = layer.scaling[self.name]
        found: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            x,
            None if dropped is x else dropped,
            layer.get_base_layer(),
            self.a.weight,
            self.b.weight,
            scaling,
        )
        return found


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        dropped: Tensor | None,
        base: Any,  # noqa: ANN401
        a_ri: Tensor,
        b_or: Tensor,
        scaling: float,
    ) -> Tensor:
        x_ni = (x if dropped is None else dropped).flatten(0, -2)
        y: Tensor = base(x)
        inner_nr = x_ni @ a_ri.to(x.dtype).t()
        y.view(-1, y.shape[-1]).addmm_(inner_nr, b_or.to(x.dtype).t(), alpha=scaling)
        ctx.save_for_backward(x if dropped is None else dropped, inner_nr, a_ri, b_or)
        ctx.base, ctx.scaling, ctx.drops = base, scaling, dropped is not None
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, inner_nr, a_ri, b_or = ctx.saved_tensors
        grad_no = grad.flatten(0, -2)
        dinner_nr = (grad_no @ b_or.to(grad.dtype)).mul_(ctx.scaling)
        da_ri = (dinner_nr.t() @ x.flatten(0, -2)).to(a_ri.dtype)
        db_or = (grad_no.t() @ inner_nr).to(b_or.dtype).mul_(ctx.scaling)
        dx_ni = ddropped_ni = None
        if ctx.needs_input_grad[0]:
            dx_ni = grad_no @ _weight(ctx.base, grad.dtype)
        if ctx.drops and ctx.needs_input_grad[1]:
            ddropped_ni = (dinner_nr @ a_ri.to(grad.dtype)).view(x.shape)
        elif dx_ni is not None:
            dx_ni.addmm_(dinner_nr, a_ri.to(grad.dtype))
        dx = None if dx_ni is None else dx_ni.view(x.shape)
        return dx, ddropped_ni, None, da_ri, db_or, None


def _weight(base: Any, dtype: torch.dtype) -> Tensor:  # noqa: ANN401
    """W, [o, i]."""
    weight: Tensor = base.weight
    if _is_4bit(base):
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(base.weight, base.weight.quant_state)
    return weight.to(dtype)
