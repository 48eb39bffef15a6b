"""Tasks: what the model should learn, one file each.

A task's file holds its config dataclass as `CONFIG` and a function `conversations`; its YAML under
`conf/task/` selects it.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from understudy.config.task import TaskConfig
from understudy.console import UserError


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
