"""torch's random generators: dropout and NEFTune draw from them, and nothing else does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

State = dict[str, Any]
"""Tensors of bytes by device: `cpu`, and `cuda` where there is a GPU."""


def state() -> State:
    """Where the generators stand."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore(states: State) -> None:
    """Put the generators back; a GPU's state is left out where there is no GPU."""
    import torch

    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def seed(*numbers: int) -> None:
    """Seed the generators from several numbers."""
    import torch

    text = "/".join(map(str, numbers))
    torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1)


def repeatable() -> None:
    """On a CPU, let no sum of floating point numbers depend on which thread came first.

    torch then also fills whatever it allocates, to show who reads it before it is written; that
    takes a twentieth of a step.
    """
    import torch
    from torch.utils import deterministic

    torch.use_deterministic_algorithms(mode=not torch.cuda.is_available())
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def given_back() -> Iterator[None]:
    """Whatever is drawn inside is as if it had never been drawn."""
    before = state()
    try:
        yield
    finally:
        restore(before)
