"""The size of a trained adapter, read from the head of its file: no weight is loaded."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

FILE = "adapter_model.safetensors"
LARGEST_HEAD_BYTES = 100_000_000
"""The format's own limit."""


def parameters(run: Path) -> int | None:
    """Numbers in the adapter of a run's first checkpoint; None where there is none to read.

    A safetensors file opens with the length of its head (8 bytes, little-endian) and the head
    itself, JSON with the shape of every tensor.
    """
    for path in sorted(run.glob(f"checkpoints/step-*/{FILE}")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                head = json.loads(file.read(min(length, LARGEST_HEAD_BYTES)))
            shapes = [t["shape"] for name, t in head.items() if name != "__metadata__"]
            return sum(math.prod(map(int, shape)) for shape in shapes)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            continue
    return None
