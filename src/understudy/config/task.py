"""What the model should learn: the fields every task has. Each task's own lie beside its code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskConfig:
    """The part of a task's config that every stage may read."""

    name: str
    """Which file under `understudy/tasks/` does the work."""
    system: str | None = None
    """System message put before every conversation; null for none."""
