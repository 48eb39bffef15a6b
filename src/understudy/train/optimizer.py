"""AdamW on what is trained, plain or in the forms that save memory."""

from __future__ import annotations

import warnings
from typing import Any

from understudy.config import Config
from understudy.config.optim import OptimConfig, Optimizer
from understudy.console import say

PAGED = (Optimizer.paged_adamw_8bit, Optimizer.paged_adamw_32bit)
PAGED_STATE = ("state1", "state2")
"""What bitsandbytes' paged optimisers keep in memory that moves between GPU and host."""
QUANTILES = ("qmap1", "qmap2")
"""The values that 8 bits stand for: the same for every parameter, made anew, never saved."""


def build(model: Any, config: Config) -> Any:  # noqa: ANN401
    """The optimiser over every trainable parameter.

    Each of its groups bears `lr_ratio`: its learning rate over that of the schedule. It is 1 but
    for the B of LoRA+.
    """
    import torch

    optim = config.optim
    groups = _groups(model, config.adapter.lr_ratio or 1.0)
    if optim.name is Optimizer.adamw:
        return torch.optim.AdamW(groups, fused=True, **_options(optim))
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit, PagedAdamW32bit

    # What it says on a CPU is said better by `say_what_cannot_be`.
    warnings.filterwarnings("ignore", "Paged optimizers are not supported on CPU", UserWarning)
    kinds: dict[Optimizer, Any] = {
        Optimizer.adamw_8bit: AdamW8bit,
        Optimizer.paged_adamw_8bit: PagedAdamW8bit,
        Optimizer.paged_adamw_32bit: PagedAdamW32bit,
    }
    return kinds[optim.name](groups, **_options(optim))


def say_what_cannot_be(optim: OptimConfig) -> None:
    """Tell the person where this machine cannot do what the optimiser's name promises."""
    import torch

    if optim.name in PAGED and not torch.cuda.is_available():
        say(
            f"train: optim={optim.name.name} pages its state between GPU and main memory; there is "
            "no GPU here, so it stays in main memory"
        )


def state(optimizer: Any) -> dict[str, Any]:  # noqa: ANN401
    """The optimiser's `state_dict`: for each parameter, in order, one flat mapping.

    bitsandbytes wraps its tensors in a mapping of their own, and all parameters share the tables of
    8-bit values: these are left out.
    """
    found = dict(optimizer.state_dict())
    found["state"] = {key: _flat(entries) for key, entries in sorted(found["state"].items())}
    return found


def restore(optimizer: Any, saved: dict[str, Any]) -> None:  # noqa: ANN401
    """Put back what `state` gave, bit for bit."""
    optimizer.load_state_dict(saved)
    if not hasattr(optimizer, "name2qmap"):
        return
    for parameter, entries in optimizer.state.items():
        if "absmax1" in entries:
            for name, table in zip(QUANTILES, ("dynamic", "udynamic"), strict=True):
                optimizer.name2qmap[table] = optimizer.name2qmap[table].to(parameter.device)
                entries[name] = optimizer.name2qmap[table]
        if optimizer.is_paged:
            _page(optimizer, parameter, entries)


def _page(optimizer: Any, parameter: Any, entries: dict[str, Any]) -> None:  # noqa: ANN401
    """Move state to paged memory: loading puts it on the GPU, where it would stay."""
    for name in PAGED_STATE:
        buffer = optimizer.get_state_buffer(parameter, dtype=entries[name].dtype)
        entries[name] = buffer.copy_(entries[name])


def _flat(entries: dict[str, Any]) -> dict[str, Any]:
    inner = [value for value in entries.values() if isinstance(value, dict)]
    outer = {name: value for name, value in entries.items() if not isinstance(value, dict)}
    merged = {name: value for mapping in (outer, *inner) for name, value in mapping.items()}
    return {name: value for name, value in merged.items() if name not in QUANTILES}


def set_rate(optimizer: Any, rate: float) -> None:  # noqa: ANN401
    """Give every group its learning rate for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_ratio"]


def _options(optim: OptimConfig) -> dict[str, Any]:
    return {
        "lr": optim.peak,
        "betas": tuple(optim.betas),
        "eps": optim.eps,
        "weight_decay": optim.weight_decay,
    }


def _groups(model: Any, lr_ratio: float) -> list[dict[str, Any]]:  # noqa: ANN401
    # peft has such a function for LoRA+, but it sets the weight decay to zero whatever is asked.
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if lr_ratio == 1.0:
        return [{"params": [p for _, p in named], "lr_ratio": 1.0}]
    ups = [p for name, p in named if "lora_B" in name]
    others = [p for name, p in named if "lora_B" not in name]
    return [{"params": others, "lr_ratio": 1.0}, {"params": ups, "lr_ratio": lr_ratio}]
