"""The size of what was trained, read from the head of its file: no weight is loaded."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

FILES = ("adapter_model.safetensors", "delta.safetensors")
"""An adapter's weights, or those of the base itself where they were trained."""
LARGEST_HEAD_BYTES = 100_000_000
"""The format's own limit."""


def parameters(run: Path) -> int | None:
    """Numbers trained in a run, by its first checkpoint; None where there is none to read.

    A safetensors file opens with the length of its head (8 bytes, little-endian) and the head
    itself, JSON with the shape of every tensor.
    """
    for path in sorted(file for name in FILES for file in run.glob(f"checkpoints/step-*/{name}")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                head = json.loads(file.read(min(length, LARGEST_HEAD_BYTES)))
            shapes = [t["shape"] for name, t in head.items() if name != "__metadata__"]
            return sum(math.prod(map(int, shape)) for shape in shapes)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            continue
    return None
