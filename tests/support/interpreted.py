"""Fused kernels against plain transformers on a CPU, in triton's interpreter.

Run as a program, with TRITON_INTERPRET=1: the interpreter is chosen when triton is imported, and
holds for the whole process. Prints what it found as JSON.
"""

from __future__ import annotations

import copy
import json
import sys
from importlib import import_module
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from understudy.kernels import fused, lora
from understudy.train import recompute


def complete_interpreter() -> None:
    """Give triton's interpreter what these kernels need and only its compiler has."""
    import numpy as np
    import triton.language as tl
    from liger_kernel.ops import geglu, rms_norm
    from triton.runtime import interpreter

    plain = interpreter._implicit_cvt

    def convert(given: Any) -> Any:
        """A number given to a kernel is a fp32 scalar there, not a Python number."""
        if not isinstance(given, float):
            return plain(given)
        handle = interpreter.TensorHandle(np.array([given], dtype=np.float32), tl.float32)
        return tl.tensor(handle, tl.float32)

    interpreter._implicit_cvt = convert
    # Those of CUDA's library have no Python body.
    # Looked up when it is called: while a kernel runs, the names in `tl` are the interpreter's.
    rms_norm.rsqrt = lambda x: 1 / tl.sqrt(x)
    geglu.tanh = lambda x: 2 * tl.sigmoid(2 * x) - 1


SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 48,  # no power of two: a kernel's block is larger than its row
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "attn_implementation": "sdpa",
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base(family: str, **more: Any) -> Any:
    transformers = import_module("transformers")
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **more})
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    for name, parameter in model.named_parameters():
        if "norm" in name:  # trained norms are not 1 everywhere
            torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.2)
    return model.requires_grad_(requires_grad=False)


def adapted(model: Any) -> Any:
    torch.manual_seed(1)
    lora = LoraConfig(
        r=4, target_modules=LINEAR, modules_to_save=["model.norm"], init_lora_weights=False
    )
    return get_peft_model(model, lora)


def passes(model: Any, *, checkpointing: bool = False) -> dict[str, torch.Tensor]:
    """Logits, and the gradients of what is trained, for packed rows of two lines."""
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
        model.train()
    # Each line holds other rows: the kernel must take positions of each line by itself.
    positions = torch.tensor([[*range(4), *range(2)], [*range(1), *range(5)]])
    ids = torch.arange(12).view(2, 6) * 5 % 64
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten().roll(-1)).backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {"logits": logits.detach(), **found}


def apart(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference, relative to the largest value of its tensor."""
    assert ours.keys() == theirs.keys()
    assert len(ours) > 1
    ratios = [(ours[name] - theirs[name]).abs().max() / theirs[name].abs().max() for name in theirs]
    return float(torch.stack(ratios).max())  # not a number, if one of them is not


def compared(family: str, *, checkpointing: bool, together: bool, **more: Any) -> dict[str, Any]:
    module = import_module(f"transformers.models.{family.lower()}.modeling_{family.lower()}")
    before = dict(vars(module))
    plain = base(family, **more)
    model = copy.deepcopy(plain)
    expected = passes(adapted(plain))
    counts = fused.bind(model, fused.load())
    again = fused.bind(model, fused.load())
    model = adapted(model)
    found = {
        "counts": counts,
        "again": again,
        "apart": apart(passes(model, checkpointing=checkpointing), expected),
        "others": apart(passes(adapted(base(family, **more))), expected),
        "names_changed": [name for name in before if vars(module)[name] is not before[name]],
    }
    model.gradient_checkpointing_disable()
    fused.take_off(model)
    found["taken_off"] = apart(passes(model), expected)
    if together:
        fused.bind(model, fused.load())
        lora.put_on(model)
        for block in recompute.blocks(model):
            block.mlp.forward = recompute.Tiles(block.mlp.forward, 5)
        found["together"] = apart(passes(model), expected)
    return found


def tried() -> str:
    """What the attempt on one kernel says of one that computes wrongly."""
    kernels = fused.load()
    fused._try(kernels, torch.device("cpu"))
    wrong = fused.Kernels(norm=None, silu=kernels.gelu, gelu=None, rotary=None)
    try:
        fused._try(wrong, torch.device("cpu"))
    except RuntimeError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    complete_interpreter()
    cases = {
        "Llama": {"num_key_value_heads": 4},
        "Mistral": {"sliding_window": 4096},
        "Qwen2": {},
        "Qwen3": {},
        "Gemma2": {"attn_implementation": "eager"},
    }
    found = {
        family: compared(
            family, checkpointing=family == "Mistral", together=family == "Llama", **more
        )
        for family, more in cases.items()
    }
    json.dump({"families": found, "tried": tried()}, sys.stdout)
