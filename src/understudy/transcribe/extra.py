"""The libraries of the `speech` extra: a training machine does not have them."""

from __future__ import annotations

from importlib.util import find_spec

from understudy.console import UserError

MODULES = ("av", "torch", "faster_whisper", "pyannote.audio")


def check() -> None:
    """Look for the libraries without importing them.

    Raises:
        UserError: one of them is not installed.
    """
    missing = [name for name in MODULES if not _is_installed(name)]
    if missing:
        raise UserError(
            f"transcribe needs {', '.join(missing)}, which is not installed here: "
            "pip install 'understudy[speech]'."
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def no_whisperx(error: ImportError) -> UserError:
    """What to say where whisperX, which no extra can bring, cannot be imported."""
    return UserError(
        f"asr=whisperx cannot be imported ({error}). Its pins do not fit beside transformers 5, "
        "so it comes by itself: pip install --no-deps whisperx==3.8.6. "
        "asr=faster_whisper does without it."
    )
