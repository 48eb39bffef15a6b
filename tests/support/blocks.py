"""A run of three small blocks, for what is done by the block."""

from __future__ import annotations

from pathlib import Path

import by_hand
import torch

from understudy.train.training import Training

BLOCKS = 3
ROWS = by_hand.talks(7, 7, longest=14)


def tiny(folder: Path, *overrides: str, dropout: float = 0.0) -> Training:
    """A run of three blocks with an adapter on every linear layer, all rows in one step."""
    base = by_hand.random_model("Mistral", attention="sdpa", num_hidden_layers=BLOCKS)
    settings = by_hand.config(f"optim.rows_per_step={len(ROWS)}", *overrides)
    return by_hand.training(by_hand.with_lora(base, dropout=dropout), ROWS, folder, settings)


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
