"""How the work is laid into memory. Nothing here changes what is learned, rounding apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from understudy.config.limits import within


class Attention(Enum):
    """Which of transformers' attention functions computes."""

    sdpa = "sdpa"
    """torch's own, fused where the device has a kernel for it."""
    eager = "eager"
    """Plain matrix products: slow, for comparison."""
    flash_attention_2 = "flash_attention_2"
    """The flash-attn package's, on CUDA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConfig:
    """Kept out of a run's identity: a run killed for memory resumes with a smaller micro-batch."""

    micro_batch: int = 1
    """Lines in one forward pass: a row each, or with `packing` as many rows as fit."""
    checkpointing: bool = False
    """Recompute activations in the backward pass instead of keeping them."""
    packing: bool = False
    """Lay several rows of a step end to end into one line of `model.context` tokens, each of them
    blind to the others."""
    attention: Attention = Attention.sdpa
    budget_gib: float | None = None
    """CUDA: most GPU memory this process may take; null: all there is."""

    def __post_init__(self) -> None:
        within("memory.micro_batch", self.micro_batch, 1, 4096, unit="lines")
        within("memory.budget_gib", self.budget_gib, 0.5, 1024, unit="GiB")
