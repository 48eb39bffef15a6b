"""A full disk: an event on a rented machine, not a fault of ours."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy.console import RunFailedError

FULL = (errno.ENOSPC, errno.EDQUOT)
SAID_BY_RUST = tuple(f"(os error {number})" for number in FULL)
"""safetensors writes from Rust, and its errors bear no number: only their text tells."""
MIB = 2**20


@contextmanager
def explained(folder: Path, failed: str) -> Iterator[None]:
    """Turn an error that a full disk caused into a message that says what to do.

    Args:
        folder: The run's folder.
        failed: What could not be done, as in `step 6 could not be saved`.

    Raises:
        RunFailedError: the disk is full, or a quota is used up.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise RunFailedError(f"{failed}: {said(folder, error)}") from None


def is_full(error: Exception) -> bool:
    """Whether a full disk, or a quota that is used up, is behind an error."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(text in str(error) for text in SAID_BY_RUST)


def said(folder: Path, error: Exception) -> str:
    """What is full, how much is free, what stays, what to do."""
    where = _where(error, folder)
    usage = shutil.disk_usage(where)
    return (
        f"the disk that holds {where} is full ({usage.free / MIB:,.1f} of "
        f"{usage.total / MIB:,.1f} MiB free). What was saved before is whole: make room, and "
        "the same command goes on from there."
    )


def _where(error: Exception, folder: Path) -> Path:
    """The folder that could not take more; the run's own where the error names none."""
    name = error.filename if isinstance(error, OSError) else None
    if not isinstance(name, str):
        return folder
    parent = Path(name).absolute().parent
    return parent if parent.is_dir() and folder not in (parent, *parent.parents) else folder
