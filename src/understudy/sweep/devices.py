"""The GPUs that jobs can be given, found without loading torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

VARIABLE = "CUDA_VISIBLE_DEVICES"
GPU_STAGES = ("transcribe", "train", "generate")
SECONDS = 60
"""A driver that nobody keeps loaded takes a while to answer."""


def devices(stage: str) -> list[str | None]:
    """Values of CUDA_VISIBLE_DEVICES, one for each job that may run at once.

    None stands for the environment as it is: jobs of stages that use no GPU, and those on a machine
    with one GPU or none, run one at a time.
    """
    found = _chosen() if VARIABLE in os.environ else _installed()
    if stage not in GPU_STAGES or len(found) <= 1:
        return [None]
    return [*found]


def _chosen() -> list[str]:
    """What the person's own CUDA_VISIBLE_DEVICES names; as for CUDA, -1 ends the list."""
    found = []
    for name in os.environ[VARIABLE].split(","):
        if not name.strip() or name.strip() == "-1":
            break
        found.append(name.strip())
    return found


def _installed() -> list[str]:
    """What the driver lists."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed(done.stdout)


def listed(text: str) -> list[str]:
    """The identifiers in `nvidia-smi -L`: of a GPU cut into MIG devices, those of its parts."""
    found: list[str] = []
    cut = ""
    for line in text.splitlines():
        match = re.search(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", line)
        if match is None:
            continue
        name = match.group(1)
        if name.startswith("MIG-") and found and found[-1] == cut:
            found.pop()
        if name.startswith("GPU-"):
            cut = name
        found.append(name)
    return found
