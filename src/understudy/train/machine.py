"""What figures depend on beside config and data: where it differs, a resume is not bitwise."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from understudy.train.training import Training


def here(run: Training) -> dict[str, str | int]:
    """Versions, threads and device of this process: what decides in which order sums are made."""
    import torch

    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device,
        "processes": run.processes.count,
    }


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """How two machines differ, as in `threads 8, now 2`."""
    return [
        f"{name} {before.get(name, 'unknown')}, now {value}"
        for name, value in now.items()
        if before.get(name) != value
    ]
