"""RMSNorm, rotary positions and the gated MLP in one GPU kernel each, from liger-kernel.

Each is put on single modules of one model and only where transformers computes exactly what the
kernel stands in for: the compiled code of the module's own formula is compared with Llama's or
Gemma-2's, for which the equality is tested. Other models in the process are not touched, which
liger-kernel's own patches would do (they replace names in transformers' modules).

The kernels save memory by writing over what nobody else reads: the outputs of the query and key
projections when positions are put in, and the outputs of the gate and up projections in the
backward pass. Nothing may keep those for a backward pass of its own, and a graph goes backward
only once.

Source: Hsu et al. 2024, Liger Kernel, https://arxiv.org/abs/2410.10989.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import FunctionType, MethodType
from typing import Any

PACKAGE = "liger-kernel"
PLAIN = "kernels: plain ones are used"
ROTARY = "apply_rotary_pos_emb"
"""What transformers calls the function in every family's module."""

Forward = Callable[..., Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernels:
    """liger-kernel's functions, with gradients."""

    norm: Any
    silu: Any
    """silu(a) * b."""
    gelu: Any
    """gelu(a) * b, by tanh."""
    rotary: Any


def put_on(model: Any) -> str:  # noqa: ANN401  # transformers has no types
    """Make the model's blocks compute with fused kernels, where that can be had.

    For training: after the base is loaded, before or after an adapter is attached.

    Returns:
        What was put on, or why nothing was, for a person to read.
    """
    import torch

    if not torch.cuda.is_available():
        return f"{PLAIN}: fused ones need a CUDA GPU"
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        return f"{PLAIN}: {PACKAGE} is not installed (pip install 'understudy[gpu]')"
    try:
        kernels = load()
        _try(kernels, model.device)
    except _faults() as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return (
            f"{PLAIN}: {PACKAGE} {found} does not run here ({reason[-1]}). If a compiler or "
            "Python.h is missing: on Debian and Ubuntu, apt install build-essential python3-dev"
        )
    counts = bind(model, kernels)
    if not counts:
        return f"{PLAIN}: {PACKAGE} {found} has none for the formulas of {_type(model)}"
    what = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"kernels: {PACKAGE} {found} computes {what}"


def take_off(model: Any) -> None:  # noqa: ANN401
    """Make the model compute as transformers wrote it again.

    What was put over a kernel since, as tiles of an MLP are, has to come off first.
    """
    for module in model.modules():
        if getattr(module.__dict__.get("forward"), "fused", False):
            del module.forward


def load() -> Kernels:
    """liger-kernel's functions.

    Raises:
        ImportError: it or triton cannot be imported.
    """
    from liger_kernel.ops import (
        LigerGELUMulFunction,
        LigerRMSNormFunction,
        LigerRopeFunction,
        LigerSiLUMulFunction,
    )

    return Kernels(
        norm=LigerRMSNormFunction.apply,
        silu=LigerSiLUMulFunction.apply,
        gelu=LigerGELUMulFunction.apply,
        rotary=LigerRopeFunction.apply,
    )


def bind(model: Any, kernels: Kernels) -> Counter[str]:  # noqa: ANN401
    """Put the kernels on every module whose formula is known; how many of each kind.

    A module whose forward pass something else has replaced is left as it is.
    """
    counts: Counter[str] = Counter()
    for module in model.modules():
        if _is_replaced(module):
            continue
        known = (
            ("norms", _norm(module, kernels)),
            ("gated MLPs", _gated(module, kernels)),
            ("attentions' rotary positions", _rotary(module, kernels)),
        )
        for name, forward in known:
            if forward is not None:
                forward.__dict__["fused"] = True
                module.forward = MethodType(forward, module)
                counts[name] += 1
    return counts


def _is_replaced(module: Any) -> bool:  # noqa: ANN401
    own = module.__dict__.get("forward")
    return own is not None and getattr(own, "__func__", None) is not type(module).forward


def _norm(module: Any, kernels: Kernels) -> Forward | None:  # noqa: ANN401
    # Never in place: where a norm's result goes straight to the residual stream, as in Gemma-2,
    # the gradient it would be written over is still needed.
    formula = _formula(type(module))
    if formula == _known().llama_norm:

        def of_llama(self: Any, hidden: Any) -> Any:  # noqa: ANN401
            epsilon = self.variance_epsilon
            return kernels.norm(hidden, self.weight, epsilon, 0.0, "llama", False)  # noqa: FBT003

        return of_llama
    if formula == _known().gemma_norm:

        def of_gemma(self: Any, hidden: Any) -> Any:  # noqa: ANN401
            return kernels.norm(hidden, self.weight, self.eps, 1.0, "gemma", False)  # noqa: FBT003

        return of_gemma
    return None


def _gated(module: Any, kernels: Kernels) -> Forward | None:  # noqa: ANN401
    from transformers.activations import ACT2FN

    if _formula(type(module)) != _known().gated:
        return None
    if type(module.act_fn) is type(ACT2FN["silu"]):
        multiply = kernels.silu
    elif type(module.act_fn) is type(ACT2FN["gelu_pytorch_tanh"]):
        multiply = kernels.gelu
    else:
        return None

    def forward(self: Any, x: Any) -> Any:  # noqa: ANN401
        return self.down_proj(multiply(self.gate_proj(x), self.up_proj(x)))

    return forward


def _rotary(module: Any, kernels: Kernels) -> Forward | None:  # noqa: ANN401
    plain = type(module).forward
    # The code of a wrapped method is the wrapper's, which does not name the function.
    if not isinstance(plain, FunctionType) or ROTARY not in plain.__code__.co_names:
        return None
    if _code(plain.__globals__.get(ROTARY)) != _known().rotary:
        return None

    def rotary(q: Any, k: Any, cos: Any, sin: Any) -> Any:  # noqa: ANN401
        return kernels.rotary(q, k, cos, sin)

    # The same code, for which that one name means another function, in this module alone.
    forward = FunctionType(
        plain.__code__,
        {**plain.__globals__, ROTARY: rotary},
        plain.__name__,
        plain.__defaults__,
        plain.__closure__,
    )
    forward.__kwdefaults__ = plain.__kwdefaults__
    return forward


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """The formulas the kernels compute, as transformers writes them."""

    llama_norm: Any
    gemma_norm: Any
    gated: Any
    rotary: Any


@cache
def _known() -> _Known:
    from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
    from transformers.models.llama import modeling_llama as llama

    return _Known(
        llama_norm=_formula(llama.LlamaRMSNorm),
        gemma_norm=_formula(Gemma2RMSNorm),
        gated=_formula(llama.LlamaMLP),
        rotary=_code(llama.apply_rotary_pos_emb),
    )


def _formula(kind: Any) -> Any:  # noqa: ANN401
    """What a module class computes: the code of its forward pass and of Gemma's part of it."""
    return _code(kind.forward), _code(getattr(kind, "_norm", None))


def _code(function: Any) -> Any:  # noqa: ANN401
    """A function's code without what it is called and how it is described."""
    if not isinstance(function, FunctionType):
        return None
    code = function.__code__
    constants = tuple(value for value in code.co_consts if not isinstance(value, str))
    return code.co_code, code.co_names, code.co_varnames, constants


def _type(model: Any) -> str:  # noqa: ANN401
    return f"model type {model.config.model_type}"


def _try(kernels: Kernels, device: Any) -> None:  # noqa: ANN401
    """Compile and run one kernel, so that a missing compiler shows here and not in the first step.

    Raises:
        RuntimeError: it computes something else than torch.
    """
    import torch

    gate = torch.linspace(-2, 2, 64, device=device).view(4, 16).requires_grad_()
    up = torch.linspace(1, 3, 64, device=device).view(4, 16)
    expected = torch.nn.functional.silu(gate) * up
    (expected_gradient,) = torch.autograd.grad(expected.sum(), gate)
    result = kernels.silu(gate * 1.0, up.clone())
    (gradient,) = torch.autograd.grad(result.sum(), gate)
    for ours, theirs in ((result, expected), (gradient, expected_gradient)):
        if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5):
            raise RuntimeError("its result is not torch's")


def _faults() -> tuple[type[Exception], ...]:
    """What goes wrong where kernels cannot be compiled."""
    faults = (ImportError, OSError, RuntimeError, subprocess.CalledProcessError)
    try:
        from triton.errors import TritonError
    except ImportError:
        return faults
    return (*faults, TritonError)
