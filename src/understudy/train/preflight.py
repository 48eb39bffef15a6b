"""Checks before step 1: what would otherwise fail after hours fails within two minutes."""

from __future__ import annotations

from understudy.train.training import Training


def check(run: Training) -> None:
    """Run every check; leaves weights, optimiser and random generators as they were."""
