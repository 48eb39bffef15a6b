"""Tasks: what the model should learn, one file each.

A task's file holds its config dataclass as `CONFIG`, the item files it reads as `ITEM_FILES`, and
`from_item`, `from_row` or both; its YAML under `conf/task/` selects it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Protocol

from understudy.config.task import TaskConfig
from understudy.config.voices import VoicesConfig
from understudy.console import UserError
from understudy.records.conversation import Conversation
from understudy.records.item import Item
from understudy.records.voices import KnownVoice


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What items of a corpus are read with."""

    register: list[KnownVoice]
    """Known voices of the corpus."""
    voices: VoicesConfig


class FromItem(Protocol):
    """What a task's `from_item` does: conversations of one item of a corpus.

    `ITEM_FILES` names, as glob patterns within the item's folder, every file it reads: they are
    part of a prepared set's identity.
    """

    def __call__(self, item: Item, reading: Reading, config: Any) -> Iterator[Conversation]:  # noqa: ANN401  # the task's own
        """Raises ValueError where the item cannot be used; the message says why."""


class FromRow(Protocol):
    """What a task's `from_row` does: conversations of one line of `task.rows`."""

    def __call__(self, record: dict[str, Any], config: Any) -> Iterator[Conversation]:  # noqa: ANN401  # the task's own
        """Raises ValueError where the row cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task's parts, as `prepare` calls them."""

    name: str
    item_files: tuple[str, ...]
    from_item: FromItem | None
    """None: the task reads rows only."""
    from_row: FromRow | None
    """None: the task reads items only."""


def names() -> list[str]:
    """Names of the tasks that are built."""
    modules = (module.name for module in iter_modules(__path__))
    return sorted(
        name for name in modules if hasattr(import_module(f"{__name__}.{name}"), "CONFIG")
    )


def schemas() -> dict[str, type[TaskConfig]]:
    """The config dataclass of every task, by name."""
    return {name: _module(name).CONFIG for name in names()}


def load(name: str) -> ModuleType:
    """The task's module.

    Raises:
        UserError: no such task is built.
    """
    if name not in names():
        raise UserError(f"task={name} is not built yet: choose one of {', '.join(names())}.")
    return _module(name)


def find(name: str) -> Task:
    """The task's parts.

    Raises:
        UserError: no such task is built.
    """
    module = load(name)
    return Task(
        name,
        tuple(module.ITEM_FILES),
        getattr(module, "from_item", None),
        getattr(module, "from_row", None),
    )


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name}")
