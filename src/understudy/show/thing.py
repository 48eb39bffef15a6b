"""What lies at a path, and the view that fits it."""

from __future__ import annotations

from pathlib import Path

from understudy.console import UserError, warn

DEFAULT_ROWS = 2


def show(path: Path, row_limit: int | None) -> None:
    """Print what lies at `path` to stdout.

    Raises:
        UserError: nothing lies there, or nothing that can be shown.
    """
    from understudy.show import corpus, prepared, run
    from understudy.show.screen import stdout

    if not path.is_dir():
        raise UserError(_missing(path))
    console = stdout()
    if prepared.fits(path):
        prepared.show(path, console, DEFAULT_ROWS if row_limit is None else row_limit)
        return
    if row_limit is not None:
        warn(f"--rows is for prepared sets; {path} is none")
    if run.fits(path):
        run.show(path, console)
    elif corpus.fits(path):
        corpus.show(path, console)
    else:
        raise UserError(
            f"{path} is nothing that can be shown: give a corpus (data/<corpus>), a prepared set "
            "(runs/prepare/<name>) or a training run (runs/train/<name>)."
        )


def _missing(path: Path) -> str:
    if path.is_file():
        return f"{path} is a file: give the folder it lies in."
    as_corpus = Path("data") / path
    if as_corpus.is_dir():
        return f"{path} is not there: did you mean {as_corpus}?"
    return f"{path} is not there: give a corpus, a prepared set or a training run."
