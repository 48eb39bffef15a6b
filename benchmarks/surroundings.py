"""What a benchmark runs on: hardware, versions, commit, and how fast the machine multiplies.

Nothing here needs more than Python until a figure of torch's is asked for.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
ON_GPU, ON_CPU = 8192, 1536
"""How wide the measured matrices are: too large for the caches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A CUDA GPU."""

    name: str
    gib: float
    capability: str
    bf16: bool
    """Whether it computes in bf16 itself."""
    cuda: str | None
    driver: str | None

    @classmethod
    def found(cls) -> Card | None:
        """The first one that torch sees."""
        import torch

        if not torch.cuda.is_available():
            return None
        known = torch.cuda.get_device_properties(0)
        return cls(
            name=known.name,
            gib=round(known.total_memory / 2**30, 2),
            capability=f"{known.major}.{known.minor}",
            bf16=torch.cuda.is_bf16_supported(including_emulation=False),
            cuda=torch.version.cuda,
            driver=_asked("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        )


def surroundings(*packages: str, card: Card | None = None) -> dict[str, Any]:
    """Hardware, versions, commit: what goes into every result.

    Args:
        packages: Whose versions are noted; None for one that is not installed.
        card: The GPU that was measured.
    """
    versions = {"python": platform.python_version(), **{n: installed(n) for n in packages}}
    hardware = f"{os.cpu_count()} cores, {platform.machine()}"
    if card is not None:
        versions |= {"cuda": card.cuda, "driver": card.driver}
        hardware = (
            f"{card.name}, {card.gib:.0f} GiB, compute capability {card.capability}, {hardware}"
        )
    commit = _asked("git", "-C", str(REPOSITORY), "rev-parse", "HEAD")
    return {"hardware": hardware, "versions": versions, "commit": commit}


def installed(name: str) -> str | None:
    """A package's version; None for one that is not installed, or only lies on the path."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _asked(*command: str) -> str | None:
    """The first line a program prints; None where it is missing or has nothing to say."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().partition("\n")[0] or None


def product_rate(dtype: str = "bfloat16") -> float:
    """Operations a second of a large product of random matrices, median of five, GPU before CPU."""
    import torch

    on_gpu = torch.cuda.is_available()
    size, device, products = (ON_GPU, "cuda", 5) if on_gpu else (ON_CPU, "cpu", 1)
    kind = getattr(torch, dtype)
    one, other = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(6):
        if on_gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(products):
            torch.mm(one, other)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return products * 2 * size**3 / statistics.median(seconds[1:])
