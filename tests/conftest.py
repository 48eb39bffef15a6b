"""Fixtures that several areas share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from doors import DoorProcess, Ended
from shows import make_corpus, tiny_overrides

REPOSITORY = Path(__file__).parent.parent
SHOW = REPOSITORY / "samples" / "show"


@pytest.fixture(scope="session", autouse=True)
def offline() -> Iterator[None]:
    """No test may depend on a hub: whatever asks for one fails at once."""
    previous = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield
    if previous is None:
        del os.environ["HF_HUB_OFFLINE"]
    else:
        os.environ["HF_HUB_OFFLINE"] = previous


Door = Callable[..., Ended]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., DoorProcess]:
    """Start a door and leave it running."""

    def run(stage: str, *overrides: str, cwd: Path = tmp_path) -> DoorProcess:
        return DoorProcess(stage, overrides, cwd)

    return run


@pytest.fixture
def door(start: Callable[..., DoorProcess]) -> Door:
    """Walk through a door to its end, with its real code, signals and exit code."""

    def run(stage: str, *overrides: str) -> Ended:
        return start(stage, *overrides).wait()

    return run


@pytest.fixture
def command(tmp_path: Path) -> Door:
    """A door as a person types it: a new interpreter, every import paid for."""

    def run(stage: str, *overrides: str, cwd: Path = tmp_path) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", stage, *overrides],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of three million parameters with SmolLM2's real tokenizer, in fp32."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from understudy.models import embedded

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = AutoTokenizer.from_pretrained(embedded.folder("smollm2_135m"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(tiny_model: Path) -> list[str]:
    """Overrides that put the tiny model in the place of the real one."""
    return tiny_overrides(tiny_model)


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Make a corpus in the folder the doors run in."""

    def make(name: str = "show", items: int = 4, turns: int = 8) -> Path:
        return make_corpus(tmp_path, name, items, turns)

    return make


@dataclass(frozen=True, slots=True)
class Trained:
    """A corpus and a finished run of the tiny model on it."""

    root: Path
    arguments: list[str]


@pytest.fixture(scope="session")
def trained_once(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("trained")
    make_corpus(root, "show", items=5, turns=24)
    arguments = [
        "corpus=show",
        *(
            f"model.{key}"
            for key in (f"base={tiny_model}", "name=tiny", "context=256", "dtype=fp32")
        ),
        "optim.lr=2e-2",
        "optim.rows_per_step=2",
        "schedule.epochs=2",
        "split=count",
    ]
    ended = DoorProcess("train", arguments, root).wait()
    assert ended.returncode == 0, ended.stderr
    return Trained(root, arguments)


@pytest.fixture
def trained(trained_once: Trained, tmp_path: Path) -> list[str]:
    """A copy of the finished run in the folder the doors run in; returns its arguments."""
    for name in ("data", "runs"):
        shutil.copytree(trained_once.root / name, tmp_path / name)
    return trained_once.arguments
