"""What is learned on top of a base, whichever kind: attached, counted, saved, put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.config.adapter import AdapterConfig
from understudy.models import adapters


def attach(base: Any, config: AdapterConfig) -> Any:  # noqa: ANN401  # transformers has no types
    """The base ready to learn; nothing it says has changed yet."""
    return adapters.attach(base, config)


def save(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Write what is learned so that other tools, or `models/`, load it."""
    adapters.save(model, folder)


def restore(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Put saved weights back; keys must match to the last one."""
    adapters.restore(model, folder)


def count(model: Any) -> int:  # noqa: ANN401
    """Trained parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def check(model: Any) -> None:  # noqa: ANN401
    """Refuse what learned nothing or broke."""
    adapters.check(model)
