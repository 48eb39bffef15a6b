"""Checkpoints: which stay when a run is over, and how much work a kill may cost."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.config.limits import exclusive, within


@dataclass(frozen=True, kw_only=True, slots=True)
class KeepConfig:
    """Checkpoints are made at every epoch's end; those not kept go once a newer one is whole."""

    epochs: list[int] | None = None
    """Epochs whose checkpoints stay (the last one always does); null: see `last`."""
    last: int | None = None
    """Or the number of newest epochs whose checkpoints stay; both null: all of them."""
    best: bool = False
    """Keep the one with the lowest full_valid_loss as well."""
    resume_minutes: float = 10.0
    """Longest time between two checkpoints to resume from; changes nothing that is learned."""
    resume_steps: int | None = None
    """Most steps between two checkpoints to resume from; null: by time only."""

    def __post_init__(self) -> None:
        exclusive(keep__epochs=self.epochs, keep__last=self.last)
        within("keep.last", self.last, 1, 1000, unit="epochs")
        within("keep.resume_minutes", self.resume_minutes, 0, 1440, unit="minutes")
        within("keep.resume_steps", self.resume_steps, 1, 1_000_000, unit="steps")
        for epoch in self.epochs or []:
            within("keep.epochs", epoch, 1, 1000)
