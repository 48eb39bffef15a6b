"""AdamW on what is trained, plain or in the forms that save memory."""

from __future__ import annotations

from typing import Any

from understudy.config import Config
from understudy.config.optim import OptimConfig, Optimizer
from understudy.console import say

PAGED = (Optimizer.paged_adamw_8bit, Optimizer.paged_adamw_32bit)


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


def set_rate(optimizer: Any, rate: float) -> None:  # noqa: ANN401
    """Give every group its learning rate for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_ratio"]


def _options(optim: OptimConfig) -> dict[str, Any]:
    return {
        "lr": optim.lr,
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
