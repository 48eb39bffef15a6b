"""How much GPU memory the process may take."""

from __future__ import annotations

from understudy.config.memory import MemoryConfig
from understudy.console import UserError, say

GIB = 2**30


def hold(config: MemoryConfig) -> None:
    """Hold this process to `memory.budget_gib`; what goes beyond it is an out-of-memory error.

    Raises:
        UserError: the budget is larger than the GPU's memory.
    """
    import torch

    budget = config.budget_gib
    if budget is None:
        return
    if not torch.cuda.is_available():
        say(f"train: memory.budget_gib={budget:g} is for a GPU, and there is none here: not used")
        return
    total = torch.cuda.get_device_properties().total_memory
    if budget * GIB > total:
        raise UserError(
            f"memory.budget_gib={budget:g} is more than this GPU has ({total / GIB:.1f} GiB): "
            "give less, or null for all there is."
        )
    torch.cuda.set_per_process_memory_fraction(budget * GIB / total)
    say(f"train: held to {budget:g} of the GPU's {total / GIB:.1f} GiB")
