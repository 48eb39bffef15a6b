"""What the libraries say that helps nobody, by source; everything else still comes through."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

WARNINGS = (
    # Audio is decoded here and handed over as samples: torchcodec is never asked.
    (r"\s*torchcodec is not installed correctly", r"pyannote\.audio\.core\.io"),
    # pyannote turns TF32 off for reproducible results and tells so at every run.
    (r"\s*TensorFloat-32 \(TF32\) has been disabled", r"pyannote\.audio\.utils\.reproducibility"),
    # A window with one frame of a voice has no deviation; such windows are left out afterwards.
    (r"std\(\): degrees of freedom is <= 0", r"pyannote\."),
)
"""(message, module) patterns."""

LOGGERS = (
    "lightning.pytorch.utilities.migration",  # offers to rewrite whisperX's own weights
    "pytorch_lightning.utilities.migration",
    "faster_whisper",
)


def no_telemetry() -> None:
    """To be called before pyannote is imported: it reports every use unless it is told not to."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep known chatter of the speech libraries off the screen, and all of it off stdout."""
    # onnxruntime looks for graphics cards when it is imported and complains where there are none.
    os.environ.setdefault("ORT_LOGGING_LEVEL", "3")
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        # whisperX prints and logs to stdout, where only the path of what was made may appear.
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            for message, module in WARNINGS:
                warnings.filterwarnings("ignore", message=message, module=module)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
