"""AdamW on the adapter's weights, plain or in the forms that save memory."""

from __future__ import annotations

from typing import Any

from understudy.config.optim import OptimConfig, Optimizer
from understudy.console import UserError


def build(model: Any, config: OptimConfig) -> Any:  # noqa: ANN401
    """The optimiser over every trainable parameter.

    Raises:
        UserError: a paged optimiser was asked for on a machine without a GPU.
    """
    import torch

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options: dict[str, Any] = {
        "lr": config.lr,
        "betas": tuple(config.betas),
        "eps": config.eps,
        "weight_decay": config.weight_decay,
    }
    if config.name is Optimizer.adamw:
        return torch.optim.AdamW(parameters, fused=True, **options)
    if not torch.cuda.is_available():
        raise UserError(
            f"optim={config.name.name} keeps its state in GPU memory, and this machine has no GPU: "
            "use optim=adamw."
        )
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit, PagedAdamW32bit

    kinds = {
        Optimizer.adamw_8bit: AdamW8bit,
        Optimizer.paged_adamw_8bit: PagedAdamW8bit,
        Optimizer.paged_adamw_32bit: PagedAdamW32bit,
    }
    return kinds[config.name](parameters, **options)
