"""What is trained: low-rank adapters on a frozen base."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from understudy.config.limits import within


class AdapterMethod(Enum):
    """How the base is adapted."""

    lora = "lora"
    """LoRA (Hu et al. 2021, arXiv:2106.09685) on an unquantised base."""
    qlora = "qlora"
    """LoRA on a base in 4-bit NF4 (Dettmers et al. 2023, arXiv:2305.14314)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """W' = W + (alpha / r) B A, with A [r, in] and B [out, r]; only A and B are trained."""

    method: AdapterMethod = AdapterMethod.lora
    r: int = 16
    """Rank."""
    alpha: float = 32
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = 0.0
    """Dropout on the adapter's input."""
    targets: list[str] = field(default_factory=lambda: ["all-linear"])
    """Names of the adapted layers, or `all-linear` for every linear layer but the head."""
    double_quantisation: bool = True
    """qlora: quantise the quantisation constants too (saves about 0.4 bit a parameter)."""

    def __post_init__(self) -> None:
        within("adapter.r", self.r, 1, 1024)
        within("adapter.alpha", self.alpha, 0.001, 4096)
        within("adapter.dropout", self.dropout, 0, 0.9)
        if not self.targets:
            raise ValueError("adapter.targets=[] trains nothing: name layers, or use [all-linear].")
