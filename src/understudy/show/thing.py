"""What lies at a path, and the view that fits it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from understudy.console import UserError, warn

if TYPE_CHECKING:
    from understudy.show.card import Plan


def show(path: Path, row_limit: int | None, plan: Plan | None = None) -> None:
    """Print what lies at `path` to stdout.

    Args:
        path: The folder.
        row_limit: How many rows of a prepared set, or turns of an episode.
        plan: What to estimate of a prepared set.

    Raises:
        UserError: nothing lies there, or nothing that can be shown.
    """
    from understudy.show import corpus, item, prepared, run
    from understudy.show.screen import stdout

    if not path.is_dir():
        raise UserError(_missing(path))
    console = stdout()
    if prepared.fits(path):
        prepared.show(path, console, prepared.Look(rows=row_limit, plan=plan))
        return
    if plan is not None:
        warn(f"--card is for prepared sets; {path} is none")
    if run.fits(path):
        if row_limit is not None:
            warn(f"--rows is for prepared sets and corpora; {path} is neither")
        run.show(path, console)
    elif item.fits(path):
        item.show(path, console, item.DEFAULT_TURNS if row_limit is None else row_limit)
    elif corpus.fits(path):
        corpus.show(path, console, row_limit or 0)
    else:
        raise UserError(
            f"{path} is nothing that can be shown: give a corpus (data/<corpus>), one of its "
            "items, a prepared set (runs/prepare/<name>) or a training run (runs/train/<name>)."
        )


def _missing(path: Path) -> str:
    if path.is_file():
        return f"{path} is a file: give the folder it lies in."
    as_corpus = Path("data") / path
    if as_corpus.is_dir():
        return f"{path} is not there: did you mean {as_corpus}?"
    return f"{path} is not there: give a corpus, a prepared set or a training run."
