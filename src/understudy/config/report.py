"""What the report shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """The page that `compare` makes."""

    title: str | None = None
    """Heading of the page; null: made from corpus and model."""
