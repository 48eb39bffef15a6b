"""What the model should learn: the fields every task has. Each task's own lie beside its code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskConfig:
    """The part of a task's config that every stage may read."""

    name: str
    """Which file under `understudy/tasks/` does the work."""
    system: str | None = None
    """System message put before every conversation; null for none."""
    rows: Path | None = None
    """A CSV or JSONL file, one example a line, for the tasks that read rows; null for none."""
    valid_rows: Path | None = None
    """Another such file, held out whole: nothing else is then drawn for validation."""
    carry_turns: int = 0
    """Where a talk is cut: messages before the cut repeated at the next row's start, at weight 0
    (as many of them as make that row start with the user)."""
    carry_tokens: int = 0
    """Or as many messages before the cut as fit into this many tokens."""
