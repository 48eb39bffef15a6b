"""What `show` looks at, laid out as the stages lay it out, and the tool as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.records import jsonl, transcript, voices
from understudy.records.item import Item, Source
from understudy.records.ledger import ItemEntry, Ledger
from understudy.records.rows import Message, Meta, Row
from understudy.records.transcript import Segment, Transcript
from understudy.records.voices import KnownVoice, Role

TRICK = "Bees [red]and[/red] \x1b[31mchairs\u202e"


def seal(path: Path, stage: str, files: list[Path]) -> None:
    identity = Identity(stage=stage, format=1, config={}, inputs={})
    artifacts.seal(path, identity, files)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A finished item, an imported one, one that failed in each stage, and one not finished."""
    folder = tmp_path / "data" / "bench"
    made = {name: Item(folder / name) for name in ("bees", "ferry", "gone", "mute", "part")}
    for item in made.values():
        item.folder.mkdir(parents=True)
    for name in ("bees", "ferry", "mute"):
        source = Source(title=TRICK if name == "bees" else name.title(), guest="Tobias")
        made[name].write_source(source)
        seal(made[name].manifest_file("collect"), "collect", [made[name].source_file])
    said = Transcript(
        segments=(
            Segment(text="Welcome back to the bench.", start=0, end=2, speaker="Maren"),
            Segment(text="Hello there.", start=2, end=90, speaker="Tobias"),
        )
    )
    for name in ("bees", "ferry"):
        transcript.write(made[name].transcript_file, said)
    (made["bees"].folder / "audio.mp3").write_bytes(b"ID3")
    seal(made["bees"].manifest_file("transcribe"), "transcribe", [made["bees"].transcript_file])
    artifacts.write_json(made["bees"].folder / "info.json", {"duration": 600.0})
    made["gone"].write_failure("collect", "HTTP Error 404: Not Found")
    made["mute"].write_failure("transcribe", "no audio stream")
    known = [KnownVoice(name="Maren", role=Role.host, embedding_model="m", references=((1.0,),))]
    voices.write_register(folder / "speakers.json", known)
    return folder


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Two training rows and one for validation, a ledger that adds up, one rejected episode."""
    folder = tmp_path / "runs" / "prepare" / "bench-podcast-0123abcd"
    folder.mkdir(parents=True)

    def row(item: str, question: str, answer: str, weight: int = 1) -> Row:
        meta = Meta(
            corpus="bench",
            item=item,
            start=61.0,
            end=3725.0,
            speakers={"user": "Maren", "assistant": "Tobias"},
        )
        system = Message(role="system", content="A talk show.", weight=0)
        asked = Message(role="user", content=question, weight=weight)
        return Row(messages=(system, asked, Message(role="assistant", content=answer)), meta=meta)

    rows = [
        row("bees", "How many bees?", "Half a million."),
        row("bees", "Read before?", "Yes.", 0),
    ]
    jsonl.write(folder / "train.jsonl", rows)
    jsonl.write(folder / "valid.jsonl", [row("ferry", "Whose boat?", "Mine.")])
    jsonl.write(folder / "rejected.jsonl", [{"source": "mute", "reason": "no audio stream"}])
    entry = ItemEntry(
        words_in=20,
        words_trained=10,
        words_context=2,
        words_dropped=Counter({"ad": 5, "host not heard": 3}),
        unasked=Counter({"host not heard": 3}),
        notes=Counter({"turns joined": 1200}),
        split="train",
    )
    Ledger(items={"bees": entry}, tokens_trained=1234, tokens_context=56).write(
        folder / "ledger.json"
    )
    seal(folder / "manifest.json", "prepare", sorted(folder.glob("*.json*")))
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run with a base score, one epoch, one whole checkpoint and one that was cut off."""
    folder = tmp_path / "runs" / "train" / "bench-smollm2-0123abcd"
    for step in (20, 40):
        (folder / f"checkpoints/step-{step:06}").mkdir(parents=True)
    (folder / "checkpoints/step-000020/manifest.json").write_text("{}")
    artifacts.write_json(folder / "status.json", {"state": "running", "step": 39})
    lines = [
        {"step": 0, "full_valid_loss": 3.0, "full_valid_mean_token_accuracy": 0.4},
        {"step": 20, "epoch": 1.0, "full_valid_loss": 2.4, "full_valid_mean_token_accuracy": 0.5},
        {"step": 39, "epoch": 1.95, "train_loss": 2.125, "tokens": 123456},
    ]
    for line in lines:
        jsonl.append(folder / "metrics.jsonl", line)
    jsonl.append(folder / "timing.jsonl", {"step": 39, "tokens_per_second": 812.5})
    return folder


class Tool:
    """`understudy ...` as a child process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).parent / "understudy", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "COLUMNS": "80"},
        )


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)
