"""Tasks: what the model should learn, one file each.

A task's file holds its config dataclass as `CONFIG` and a function `conversation`; its YAML under
`conf/task/` selects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Protocol

from understudy.config.task import TaskConfig
from understudy.console import UserError
from understudy.records.conversation import Conversation
from understudy.records.item import Source
from understudy.records.turns import Turn


class Converse(Protocol):
    """What a task's `conversation` does: an item's turns become a conversation."""

    def __call__(self, turns: Sequence[Turn], source: Source, config: Any) -> Conversation:  # noqa: ANN401
        """Raises ValueError where the item cannot be used; the message says why."""


def names() -> list[str]:
    """Names of the tasks that are built."""
    return sorted(module.name for module in iter_modules(__path__))


def schemas() -> dict[str, type[TaskConfig]]:
    """The config dataclass of every task, by name."""
    return {name: import_module(f"{__name__}.{name}").CONFIG for name in names()}


def load(name: str) -> ModuleType:
    """The task's module.

    Raises:
        UserError: no such task is built.
    """
    if name not in names():
        raise UserError(f"task={name} is not built yet: choose one of {', '.join(names())}.")
    return import_module(f"{__name__}.{name}")
