"""Our side: a `Training` over given rows, and its steps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.config import Config
from understudy.train.data import Example

if TYPE_CHECKING:
    from training.meter import Marks
    from training.party import Party, Setting

ALWAYS = (
    "corpus=benchmark", "adapter.dropout=0", "schedule=constant", "eval=none", "memory=plain",
)  # fmt: skip


def config_of(setting: Setting, party: Party) -> Config:
    """Our config, from which the peers take model, adapter and optimiser too."""
    from hydra import compose, initialize_config_module

    from understudy.door import register_schema, to_config

    register_schema()
    steps = (f"optim.rows_per_step={setting.rows_per_step}", f"schedule.epochs={setting.epochs}")
    own = (option for option in party.options if "=" in option)
    given = [*ALWAYS, *steps, *setting.overrides, *own]
    with initialize_config_module("understudy.conf", version_base="1.3"):
        return to_config(compose("config", overrides=given))


def model_of(config: Config) -> Any:  # noqa: ANN401  # transformers has no types
    """Base and adapter: the same bits for every party, since the seed is."""
    import torch

    from understudy.models import learned
    from understudy.models.base import load_base

    torch.manual_seed(config.seed)
    return learned.attach(load_base(config.model, config.adapter, config.memory), config.adapter)


def begin(
    config: Config,
    model: Any,  # noqa: ANN401
    examples: Sequence[Example],
    _setting: Setting,
    _party: Party,
) -> Callable[[Marks], None]:
    """All but the training itself."""
    from understudy.train import step

    run = training(config, model, examples)

    def train(marks: Marks) -> None:
        marks.mark()
        for one in run.steps:
            taken = step.take(run, one)
            marks.mark()
            marks.losses.append(taken.sums.mean_loss)

    return train


def training(config: Config, model: Any, examples: Sequence[Example]) -> Any:  # noqa: ANN401
    """A run over rows that lie in no prepared set, in the order given."""
    from understudy.artifacts import Identity
    from understudy.models.tokenizer import load_encoder
    from understudy.train import rng
    from understudy.train.data import Dataset
    from understudy.train.training import begin

    rng.repeatable()
    rows_per_step = config.optim.rows_per_step or len(examples)
    return begin(
        config,
        model,
        identity=Identity(stage="benchmark", format=1, config={}, inputs={}),
        folder=Path(tempfile.gettempdir()),
        encoder=load_encoder(config.model),
        data=Dataset(list(examples), []),
        steps=in_order(len(examples), rows_per_step, config.schedule.epochs),
    )


def in_order(count: int, rows_per_step: int, epochs: int) -> list[Any]:
    """Steps over the rows as they come, as a sequential sampler takes them."""
    from understudy.train.plan import Step

    steps: list[Any] = []
    for epoch in range(1, epochs + 1):
        for first in range(0, count, rows_per_step):
            last = min(count, first + rows_per_step)
            steps.append(
                Step(
                    number=len(steps) + 1,
                    epoch=epoch,
                    rows=tuple(range(first, last)),
                    ends_epoch=last == count,
                    epochs_done=epoch - 1 + last / count,
                )
            )
    return steps
