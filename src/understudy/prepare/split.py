"""Which items are held out: drawn by item, from a seed, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from understudy.config.split import SplitConfig
from understudy.console import UserError


def held_out(names: Sequence[str], config: SplitConfig) -> set[str]:
    """Names of the items held out for validation.

    Items are ranked by a hash of seed and name, so that a new item moves few others.

    Raises:
        UserError: nothing would be left to train on.
    """
    if config.valid_items is not None:
        count = config.valid_items
    else:
        share = config.valid_share or 0.0
        count = round(share * len(names))
        if share > 0 and len(names) > 1:
            count = max(count, 1)
    if count and count >= len(names):
        raise UserError(
            f"split.valid_items={count} leaves nothing to train on: the corpus has {len(names)} "
            "usable items. Hold out fewer, or collect more."
        )
    return set(sorted(names, key=lambda name: _rank(name, config.seed))[:count])


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
