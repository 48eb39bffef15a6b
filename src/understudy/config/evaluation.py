"""When held-out loss is measured."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.config.limits import within


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """`valid_*` on a sample every few steps, `full_valid_*` over everything at each epoch's end."""

    every_steps: int | None = None
    """Steps between measurements on a sample; null measures at epoch ends only."""
    sample_rows: int = 16
    """Rows in that sample (the same ones each time)."""
    micro_batch: int = 4
    """Rows in one forward pass; changes no figure."""

    def __post_init__(self) -> None:
        within("eval.every_steps", self.every_steps, 1, 1_000_000, unit="steps")
        within("eval.sample_rows", self.sample_rows, 1, 1_000_000, unit="rows")
        within("eval.micro_batch", self.micro_batch, 1, 4096, unit="rows")
