"""Memory of this process: what it holds, its peak since a moment, and what it may take.

Of the GPU where there is one: what torch's allocator holds, which is more than what tensors fill.
Otherwise main memory: what the kernel counts as resident.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path

from understudy.config.memory import MemoryConfig
from understudy.console import say

GIB = 2**30
PEAK_FROM_NOW = "5"
"""Written to `clear_refs`, it sets the high-water mark to what is resident (proc(5))."""
SPARE_GPU = 0.05
SPARE_MAIN = 0.05
"""Share of the room left free: no two passes are quite alike, and lengths differ."""
SPARE_OTHERS = 0.15
"""The same where no budget is given and other processes want main memory too."""


def forget() -> None:
    """Give back what is cached; the peak counts from here."""
    import torch

    # What hangs together in circles would count for what comes next.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    _trim()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(PEAK_FROM_NOW, encoding="ascii")


def held() -> int:
    """Bytes now."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.memory_reserved())
    return _status("VmRSS") or peak()


def peak() -> int:
    """Most bytes since `forget`; where the kernel cannot forget, since the process began."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forgets() -> bool:
    """Whether a peak can be measured anew."""
    import torch

    if torch.cuda.is_available():
        return True
    try:
        Path("/proc/self/clear_refs").write_text(PEAK_FROM_NOW, encoding="ascii")
    except OSError:
        return False
    return _status("VmHWM") is not None


def room(config: MemoryConfig, processes: int) -> int:
    """Most bytes that a plan may take at its peak: of the budget, or of all that is free.

    Args:
        config: `memory`.
        processes: How many share the machine's main memory.
    """
    import torch

    budget = config.budget_gib
    if torch.cuda.is_available():
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
        most = free if budget is None else min(free, int(budget * GIB))
        return int((1 - SPARE_GPU) * most)
    free = int((1 - SPARE_OTHERS) * (_free() // processes + held()))
    return free if budget is None else min(free, int((1 - SPARE_MAIN) * budget * GIB))


def device() -> str:
    """What the memory belongs to, as in `NVIDIA L4, 22 GiB`."""
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties().total_memory
        return f"{torch.cuda.get_device_name()}, {total / GIB:.0f} GiB"
    return f"CPU, {_total() / GIB:.0f} GiB"


def wait() -> None:
    """Until the GPU has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def say_if_blind() -> None:
    """Tell the person where peaks are not what one plan took by itself."""
    if not forgets():
        say(
            "train: trial: this system does not let a process reset its memory's high-water mark: "
            "peaks are those since the process began"
        )


def _total() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free() -> int:
    """Bytes of main memory that can be had without swapping, within this process's container."""
    free = _proc("/proc/meminfo", "MemAvailable")
    if free is None:
        free = _total() // 2
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        most = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        free = min(free, max(0, most - used))
    return free


def _status(name: str) -> int | None:
    return _proc("/proc/self/status", name)


def _proc(path: str, name: str) -> int | None:
    """Bytes of a line like `VmRSS:   123 kB`."""
    with suppress(OSError):
        for line in Path(path).read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


@cache
def _library() -> ctypes.CDLL | None:
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.malloc_trim  # noqa: B018  # glibc alone has it
        return library
    return None


def _trim() -> None:
    """Give freed memory back to the system, which counts it as ours until then."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)
