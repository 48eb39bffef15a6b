"""Fixtures that several areas share."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from walking import walk_through

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


@dataclass(frozen=True, slots=True)
class Ended:
    """How a door ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class DoorProcess:
    """A door in a process of its own, forked from a server that has the libraries loaded."""

    def __init__(self, stage: str, overrides: Sequence[str], cwd: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=cwd, prefix=".door-"))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        arguments = (stage, list(overrides), str(cwd), str(self.folder))
        self.process = context.Process(target=walk_through, args=arguments)
        self.process.start()

    @property
    def running(self) -> bool:
        return self.process.is_alive()

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self, timeout: float = 300) -> Ended:
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            pytest.fail(f"the door did not end within {timeout} s")
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        assert self.process.exitcode is not None
        return Ended(self.process.exitcode, out, err)


PRELOADED = (
    "hydra",
    "peft",
    "walking",
    "transformers.generation.utils",
    "transformers.models.llama.modeling_llama",
)

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


def tiny_overrides(folder: Path) -> list[str]:
    return [f"model.base={folder}", "model.name=tiny", "model.context=256", "model.dtype=fp32"]


@pytest.fixture
def tiny(tiny_model: Path) -> list[str]:
    """Overrides that put the tiny model in the place of the real one."""
    return tiny_overrides(tiny_model)


HOST, GUEST = "Maren Tolliver", "Tobias Wrenfield"


def talk(turns: int, *, host: str = HOST, guest: str = GUEST) -> dict[str, Any]:
    """A transcript in whisperX's shape in which host and guest take turns."""
    segments = []
    for number in range(turns):
        speaker = host if number % 2 == 0 else guest
        text = f"This is turn {number} by {speaker}, and it says a thing or two."
        segments.append(
            {"start": 4.0 * number, "end": 4.0 * number + 3.5, "text": text, "speaker": speaker}
        )
    return {"language": "en", "segments": segments}


def make_corpus(root: Path, name: str, items: int, turns: int) -> Path:
    """Lay out collected items with transcripts below `root`; returns the corpus folder."""
    folder = root / "data" / name
    for number in range(items):
        item = folder / f"episode-{number}"
        item.mkdir(parents=True)
        guest = f"Guest {number}"
        (item / "source.json").write_text(json.dumps({"title": item.name, "guest": guest}))
        (item / "transcript.json").write_text(json.dumps(talk(turns, guest=guest)))
        (item / "manifest.collect.json").write_text("{}")
    host = {"name": HOST, "role": "host", "embedding_model": "none", "references": []}
    (folder / "speakers.json").write_text(json.dumps({"speakers": [host]}))
    return folder


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
