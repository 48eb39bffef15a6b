"""What is learned on top of a base, whichever kind: attached, counted, saved, put back.

Two kinds: adapters (PEFT folders) and deltas (trained weights of the base itself). The config says
which is made; from then on the model tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from understudy.config.adapter import AdapterConfig, AdapterMethod
from understudy.models import adapters, delta


class Kind(Protocol):
    """What each kind can do; `models/adapters.py` and `models/delta.py` are such."""

    def save(self, model: Any, folder: Path) -> None: ...  # noqa: ANN401, D102

    def restore(self, model: Any, folder: Path) -> None: ...  # noqa: ANN401, D102

    def check(self, model: Any) -> None: ...  # noqa: ANN401, D102


def attach(base: Any, config: AdapterConfig) -> Any:  # noqa: ANN401  # transformers has no types
    """The base ready to learn; nothing it says has changed yet.

    Raises:
        UserError: the model has not the layers or blocks that the config names.
    """
    unfreezes = config.method is AdapterMethod.unfreeze
    return delta.attach(base, config) if unfreezes else adapters.attach(base, config)


def save(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Write what is learned so that other tools, or `models/`, load it."""
    _kind(model).save(model, folder)


def restore(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Put saved weights back, bit for bit; keys must match to the last one.

    Raises:
        UserError: they do not; the message lists them.
    """
    _kind(model).restore(model, folder)


def count(model: Any) -> int:  # noqa: ANN401
    """Trained parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def check(model: Any) -> None:  # noqa: ANN401
    """Refuse what learned nothing or broke.

    Raises:
        RunFailedError: it did.
    """
    _kind(model).check(model)


def _kind(model: Any) -> Kind:  # noqa: ANN401
    return delta if delta.is_on(model) else adapters
