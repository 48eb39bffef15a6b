"""How the work is laid into memory. Nothing here changes what is learned, rounding apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from understudy.config.limits import within


class Attention(Enum):
    """Which attention function computes."""

    rows = "rows"
    """Each row by itself, however rows share lines: torch's flash kernel for rows of any length on
    CUDA, our own on a CPU."""
    sdpa = "sdpa"
    """torch's own as transformers calls it, with a mask where rows share a line."""
    eager = "eager"
    """Plain matrix products: slow, for comparison."""
    flash_attention_2 = "flash_attention_2"
    """The flash-attn package's, on CUDA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConfig:
    """Kept out of a run's identity: a run killed for memory resumes with a smaller micro-batch.

    What is null is chosen by a measured trial before step 1: the fastest that fits `budget_gib`.
    """

    micro_batch: int | None = None
    """Lines in one forward pass: a row each, or with `packing` as many rows as fit."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass instead of keeping them."""
    checkpointed_blocks: int | None = None
    """checkpointing=true: in so many blocks, from the first on; null: in all of them."""
    offload: bool | None = None
    """CUDA: the inputs of recomputed blocks wait in pinned main memory; null: only if nothing else
    fits."""
    mlp_tile: int | None = None
    """Tokens that go through a block's MLP at once, forward and backward, recomputing each tile;
    null: all of a pass, and tiles only if nothing else fits and `offload` is not false."""
    packing: bool | None = None
    """Lay several rows of a step end to end into one line, each of them blind to the others."""
    line_tokens: int | None = None
    """With packing: tokens of a line, or those of a step's longest row where that is longer; null:
    `model.context`. A CPU is busy with 512, and shorter lines take less memory."""
    attention: Attention = Attention.rows
    fused: bool = True
    """Compute LoRA layers in one function each, and on CUDA norms, rotary positions and MLPs by
    liger-kernel; false: as peft and transformers do, for comparison."""
    budget_gib: float | None = None
    """Most memory this process may take: of the GPU, else main memory; null: all that is free."""

    def __post_init__(self) -> None:
        within("memory.micro_batch", self.micro_batch, 1, 4096, unit="lines")
        within("memory.checkpointed_blocks", self.checkpointed_blocks, 1, 1024, unit="blocks")
        within("memory.mlp_tile", self.mlp_tile, 1, 1 << 20, unit="tokens")
        within("memory.line_tokens", self.line_tokens, 1, 1 << 24, unit="tokens")
        within("memory.budget_gib", self.budget_gib, 0.5, 1024, unit="GiB")
        if self.checkpointed_blocks is not None and not self.checkpointing:
            raise ValueError(
                f"memory.checkpointed_blocks={self.checkpointed_blocks} says in how many blocks "
                "activations are recomputed: set memory.checkpointing=true as well, or leave "
                "checkpointed_blocks at null."
            )
        if self.offload and self.checkpointing is False:
            raise ValueError(
                "memory.offload=true moves the inputs of recomputed blocks, and "
                "memory.checkpointing=false recomputes none: set memory.checkpointing=true, or "
                "memory.offload=false."
            )

    @property
    def fixed(self) -> bool:
        """Whether nothing is left to be chosen by a trial."""
        return (
            self.micro_batch is not None
            and self.packing is not None
            and self.checkpointing is not None
            and (self.offload is False or self.checkpointing is False)
        )
