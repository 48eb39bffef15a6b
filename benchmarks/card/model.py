"""A model of random weights, and rows that fill its context."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shapes import config_of, made_up

from card.size import FULL, REHEARSED


def random_model(folder: Path, shape: Mapping[str, int], *, rehearse: bool) -> dict[str, Any]:
    """Write the model folder and the rows; bytes of the weights, and the seconds they took."""
    size = REHEARSED if rehearse else FULL
    parts = made_up()
    config = config_of("Mistral", shape)
    vocabulary = parts.words(size.words)
    encoder = parts.tokenizer(vocabulary, config.vocab_size)
    began = time.monotonic()
    device = "cpu" if rehearse else "cuda"
    written = parts.write_model(folder / "model", config, encoder, device)
    seconds = time.monotonic() - began
    for name, count in (("train", size.steps * size.rows_per_step), ("valid", 2)):
        parts.write_rows(folder / f"{name}.jsonl", encoder, vocabulary, count, size.context)
    return {"bytes": written, "write_seconds": round(seconds, 1)}
