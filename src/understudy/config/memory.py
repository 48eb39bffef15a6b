"""How the work is laid into memory. Nothing here changes what is learned."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.config.limits import within


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConfig:
    """Kept out of a run's identity: a run killed for memory resumes with a smaller micro-batch."""

    micro_batch: int = 1
    """Rows in one forward pass."""
    checkpointing: bool = False
    """Recompute activations in the backward pass instead of keeping them."""

    def __post_init__(self) -> None:
        within("memory.micro_batch", self.micro_batch, 1, 4096, unit="rows")
