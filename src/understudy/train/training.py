"""Everything a run works with, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.artifacts import Identity
from understudy.chat.encoder import Encoder
from understudy.config import Config
from understudy.train.data import Dataset
from understudy.train.journal import Journal
from understudy.train.plan import Step
from understudy.train.precision import Precision
from understudy.train.processes import Processes
from understudy.train.stop import Flag


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Everything a run works with."""

    config: Config
    identity: Identity
    folder: Path
    journal: Journal
    model: Any
    optimizer: Any
    precision: Precision
    processes: Processes
    encoder: Encoder
    data: Dataset
    steps: Sequence[Step]
    stop: Flag

    @property
    def pad_id(self) -> int:
        """What fills a batch up; it is never labelled."""
        return self.encoder.end_ids()[-1]

    @property
    def trained(self) -> list[Any]:
        """The parameters that are trained."""
        return [p for p in self.model.parameters() if p.requires_grad]
