"""Every optimiser, saved and put back on a GPU: the next steps are the same, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.artifacts import Identity
from understudy.config.optim import OptimConfig, Optimizer
from understudy.records.checkpoints import Checkpoint, Progress
from understudy.train import checkpoint as checkpoints
from understudy.train import optimizer as optimizers
from understudy.train.training import Training, begin

pytestmark = pytest.mark.gpu

Small = Callable[..., Any]

AT = Progress(step=3, epoch=1, ends_epoch=False, tokens=9)


def training(model: Any, kind: Optimizer, folder: Path) -> Training:
    """As much of a run as a checkpoint needs."""
    from hydra import compose, initialize_config_module

    from understudy.door import register_schema, to_config

    register_schema()
    with initialize_config_module("understudy.conf", version_base="1.3"):
        node = compose("config", overrides=["corpus=none", f"optim={kind.value}", "optim.lr=1e-2"])
    config = to_config(node)
    assert config.optim == OptimConfig(name=kind, lr=1e-2)
    return begin(
        config,
        model,
        identity=Identity(stage="train", format=0, config={}, inputs={}),
        folder=folder,
        encoder=None,  # type: ignore[arg-type]  # no text comes up
        data=None,  # type: ignore[arg-type]
        steps=(),
    )


def step(run: Training, number: int) -> None:
    """A step along gradients that depend on its number alone."""
    import torch

    generator = torch.Generator().manual_seed(number)
    for parameter in run.trained:
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.grad = drawn.to(parameter.device)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("kind", list(Optimizer), ids=lambda kind: kind.value)
def test_a_restored_optimiser_goes_on_bit_for_bit(
    small: Small, device: str, tmp_path: Path, kind: Optimizer
) -> None:
    import torch

    # Its larger matrices have more than 100,000 numbers: only such are paged.
    run = training(small("bfloat16", rank=512), kind, tmp_path)
    for number in range(3):
        step(run, number)
    checkpoints.write(run, tmp_path / "saved", AT)
    again = training(small("bfloat16", rank=512), kind, tmp_path)
    checkpoints.restore(again, Checkpoint(tmp_path / "saved", AT))
    for number in range(3, 6):
        step(run, number)
        step(again, number)
    for one, two in zip(run.trained, again.trained, strict=True):
        assert torch.equal(one, two)
    moved = [p.detach().cpu() for p in small("bfloat16", rank=512).parameters() if p.requires_grad]
    assert not any(torch.equal(p.cpu(), old) for p, old in zip(run.trained, moved, strict=True))
    if device == "cuda" and kind in optimizers.PAGED:
        assert paged(again) == paged(run) > 0


def paged(run: Training) -> int:
    """How many tensors of the optimiser's state can move between GPU and main memory."""
    states = run.optimizer.state.values()
    return sum(getattr(value, "is_paged", False) for state in states for value in state.values())
