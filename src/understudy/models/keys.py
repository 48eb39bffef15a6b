"""Whether saved tensors are those that a model has a place for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.console import UserError

SHOWN = 3


def must_match(folder: Path, saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse saved tensors unless each has its place and each place its tensor.

    Args:
        folder: Where they were saved, for the message.
        saved: Tensors by name.
        own: The model's, by name.

    Raises:
        UserError: a key is missing, unknown or of another shape; the first of each are listed.
    """
    shared = saved.keys() & own.keys()
    faults = {
        "missing": own.keys() - saved.keys(),
        "unknown": saved.keys() - own.keys(),
        "of another shape": {key for key in shared if saved[key].shape != own[key].shape},
    }
    found = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:SHOWN])}{', ...' * (len(names) > SHOWN)})"
        for what, names in faults.items()
        if names
    ]
    if found:
        raise UserError(
            f"{folder} does not fit this model: of its tensors {'; '.join(found)}. It was made "
            "with another model or another adapter."
        )
