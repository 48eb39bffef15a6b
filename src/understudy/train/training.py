"""Everything a run works with, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.artifacts import Identity
from understudy.chat.encoder import Encoder
from understudy.config import Config
from understudy.train import optimizer, recompute
from understudy.train.data import Dataset
from understudy.train.journal import Journal
from understudy.train.memory import MemoryPlan, plainest
from understudy.train.plan import Step
from understudy.train.precision import Precision
from understudy.train.processes import Processes
from understudy.train.stop import Flag


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Everything a run works with."""

    config: Config
    memory: MemoryPlan
    """What of `config.memory` was left open is decided here; the model is set to it."""
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


def begin(  # noqa: PLR0913  # what a run is made of, each by its name
    config: Config,
    model: Any,  # noqa: ANN401  # transformers has no types
    *,
    identity: Identity,
    folder: Path,
    encoder: Encoder,
    data: Dataset,
    steps: Sequence[Step],
    journal: Journal | None = None,
    processes: Processes | None = None,
    stop: Flag | None = None,
) -> Training:
    """A run at its beginning: the model set to learn, with a new optimiser.

    What `config.memory` leaves open is at its plainest, until a trial chooses.

    Args:
        config: What decides how it learns.
        model: The base with what is learned on it.
        identity: What its checkpoints are made of.
        folder: Where they go.
        encoder: Writes as the model reads.
        data: The rows.
        steps: Which of them make which step.
        journal: Where the run stands; None: nowhere yet.
        processes: Who trains; None: this process, with those it was started with.
        stop: What a signal raises; None: nothing does.
    """
    memory = plainest(config.memory, len(recompute.blocks(model)))
    recompute.apply(model, memory)
    if config.memory.fused:
        from understudy.kernels import lora

        lora.put_on(model)
    model.train()
    return Training(
        config=config,
        memory=memory,
        identity=identity,
        folder=folder,
        journal=journal or Journal(folder, len(steps)),
        model=model,
        optimizer=optimizer.build(model, config),
        precision=Precision(config.model.dtype, model.device.type),
        processes=processes or Processes(),
        encoder=encoder,
        data=data,
        steps=steps,
        stop=stop or Flag(),
    )
