"""Prepared sets for training tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_models
from doors import DoorProcess
from shows import make_corpus, tiny_overrides

from understudy.chat.dialect import DIALECTS
from understudy.chat.encoder import Encoder


@pytest.fixture(scope="session")
def encoder(tiny_model: Path) -> Encoder:
    from transformers import AutoTokenizer

    return Encoder(AutoTokenizer.from_pretrained(tiny_model), DIALECTS["chatml"])


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def prepared_root(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a corpus and the set prepared from it for the tiny model."""
    root = tmp_path_factory.mktemp("prepared")
    make_corpus(root, "show", items=5, turns=24)
    ended = DoorProcess(
        "prepare", ["corpus=show", *tiny_overrides(tiny_model), *SPLIT], root
    ).wait()
    assert ended.returncode == 0, ended.stderr
    return root


SPLIT = ["split.valid_items=1", "split.valid_share=null"]


@pytest.fixture
def arguments(prepared_root: Path, tiny: list[str], tmp_path: Path) -> list[str]:
    """Arguments of a short run on a prepared set, which lies in the folder the doors run in."""
    for name in ("data", "runs"):
        shutil.copytree(prepared_root / name, tmp_path / name)
    return [
        "corpus=show",
        *tiny,
        *SPLIT,
        "optim.lr=1e-2",
        "optim.rows_per_step=2",
        "schedule.epochs=3",
        "adapter.r=4",
        "adapter.dropout=0.1",
        "eval.every_steps=4",
    ]


@pytest.fixture(scope="session")
def mistral_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Mistral-7B-Instruct v0.1 with its real tokenizer."""
    return tiny_models.mistral(tmp_path_factory.mktemp("mistral"))


@pytest.fixture(scope="session")
def llama2_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama-2-7B-chat with a real tokenizer of its kind."""
    return tiny_models.llama2(tmp_path_factory.mktemp("llama2"))
