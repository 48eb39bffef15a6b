"""The optimiser, and how much makes one of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from understudy.config.limits import within


class Optimizer(Enum):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) and its memory-saving forms."""

    adamw = "adamw"
    adamw_8bit = "adamw_8bit"
    paged_adamw_8bit = "paged_adamw_8bit"
    paged_adamw_32bit = "paged_adamw_32bit"


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """One step sees `rows_per_step` rows or `tokens_per_step` tokens, in many passes or one."""

    name: Optimizer = Optimizer.adamw
    lr: float = 2e-4
    """Peak learning rate, before the multiplier."""
    lr_multiplier: float = 1.0
    """By this many times `lr`: variants with a learning rate each are swept over one multiplier."""
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    clip: float | None = 1.0
    """Largest gradient norm; null does not clip."""
    rows_per_step: int | None = 4
    """Rows that one step averages over: micro-batch times accumulation."""
    tokens_per_step: int | None = None
    """Or learned tokens: rows are taken until they have as many; set this and `rows_per_step` to
    null, or the other way round."""
    neftune_alpha: float | None = None
    """Noise on the embeddings while training, uniform within alpha / sqrt(length x width)
    (NEFTune, Jain et al. 2023, arXiv:2310.05914); null: none. 5 is usual."""

    @property
    def peak(self) -> float:
        """The peak learning rate."""
        return self.lr * self.lr_multiplier

    def __post_init__(self) -> None:
        within("optim.lr", self.lr, 1e-8, 1)
        within("optim.lr_multiplier", self.lr_multiplier, 0.001, 1000)
        within("optim.weight_decay", self.weight_decay, 0, 1)
        within("optim.clip", self.clip, 1e-6, 1e6)
        within("optim.rows_per_step", self.rows_per_step, 1, 65_536, unit="rows")
        within("optim.tokens_per_step", self.tokens_per_step, 1, 100_000_000, unit="tokens")
        within("optim.neftune_alpha", self.neftune_alpha, 0.001, 1000)
        within("optim.eps", self.eps, 1e-16, 1)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):  # noqa: PLR2004
            raise ValueError(
                f"optim.betas={self.betas}: give two numbers from 0 up to, not with, 1."
            )
        if (self.rows_per_step is None) == (self.tokens_per_step is None):
            raise ValueError(
                f"optim.rows_per_step={self.rows_per_step} and optim.tokens_per_step="
                f"{self.tokens_per_step}: set exactly one of them, and the other to null."
            )
