"""Prepared sets for training tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from understudy.chat.dialect import DIALECTS
from understudy.chat.encoder import Encoder


@pytest.fixture(scope="session")
def encoder(tiny_model: Path) -> Encoder:
    from transformers import AutoTokenizer

    return Encoder(AutoTokenizer.from_pretrained(tiny_model), DIALECTS["chatml"])


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
