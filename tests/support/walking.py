"""What a forked child runs: one door, its streams in files."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path


def walk_through(stage: str, overrides: list[str], cwd: str, streams: str) -> None:
    """Run a door's `main` as if it had been typed in `cwd`."""
    os.chdir(cwd)
    for number, name in ((1, "out"), (2, "err")):
        descriptor = os.open(Path(streams) / name, os.O_CREAT | os.O_WRONLY)
        os.dup2(descriptor, number)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    if any(override.startswith("model.base=") for override in overrides):
        # A tiny model: threads would wait for each other longer than they compute, and where the
        # machine has other work ten times as long.
        import torch

        torch.set_num_threads(1)
    sys.argv = [stage, *overrides]
    importlib.import_module(stage).main()
