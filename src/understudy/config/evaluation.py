"""When held-out loss is measured, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.config.limits import within


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """`valid_*` on a sample every few steps, `full_valid_*` over everything at each epoch's end."""

    full: bool = True
    """Measure everything held out before step 1 and at each epoch's end."""
    every_steps: int | None = None
    """Steps between measurements on a sample; null measures at epoch ends only."""
    sample_rows: int = 16
    """Rows in that sample (the same ones each time)."""
    patience: int | None = None
    """Stop after this many epochs in a row without a lower full_valid_loss; null: never."""
    min_gain: float = 0.0
    """patience: nats per token by which full_valid_loss must fall to count as lower."""
    micro_batch: int = 4
    """Rows in one forward pass; changes no figure."""
    speak_tokens: int = 60
    """Tokens of the sample that the model speaks at each epoch's end, among the events; 0: none."""

    def __post_init__(self) -> None:
        within("eval.every_steps", self.every_steps, 1, 1_000_000, unit="steps")
        within("eval.sample_rows", self.sample_rows, 1, 1_000_000, unit="rows")
        within("eval.patience", self.patience, 1, 1000, unit="epochs")
        within("eval.min_gain", self.min_gain, 0, 100, unit="nats")
        within("eval.micro_batch", self.micro_batch, 1, 4096, unit="rows")
        within("eval.speak_tokens", self.speak_tokens, 0, 4096, unit="tokens")
        if self.patience is not None and not self.full:
            raise ValueError(
                f"eval.patience={self.patience} needs full_valid_loss, and eval.full=false does "
                "not measure it: set eval.full=true, or eval.patience=null."
            )
