"""How much GPU memory the process may take."""

from __future__ import annotations

from understudy.config.memory import MemoryConfig
from understudy.console import say

GIB = 2**30


def hold(config: MemoryConfig) -> None:
    """Hold this process to `memory.budget_gib`; what goes beyond it is an out-of-memory error."""
    import torch

    budget = config.budget_gib
    if budget is None:
        return
    if not torch.cuda.is_available():
        use = "every setting of memory is given, so it is not used"
        if not config.fixed:
            use = "memory's settings are chosen to stay within it, and nothing holds them to it"
        say(f"train: memory.budget_gib={budget:g} without a GPU: {use}")
        return
    total = torch.cuda.get_device_properties().total_memory
    if budget * GIB >= total:
        say(
            f"train: memory.budget_gib={budget:g} is more than this GPU has: all of its "
            f"{total / GIB:.1f} GiB may be taken"
        )
        return
    torch.cuda.set_per_process_memory_fraction(budget * GIB / total)
    say(f"train: held to {budget:g} of the GPU's {total / GIB:.1f} GiB")
