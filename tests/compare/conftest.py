"""A made-up show that was trained and sampled: what the stages before `compare` leave on disk."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from understudy import artifacts
from understudy.compare import stage
from understudy.config import Config
from understudy.console import Outcome
from understudy.door import register_schema, to_config
from understudy.records import jsonl

HOST, GUESTS = "Mara Lind", ("Tobias Okafor", "Ines Calderón")
ITEMS = ("ep09-lighthouse-keeper", "ep10-bread-archive")
DECODERS = ("greedy", "beam", "nucleus")
CHECKPOINTS = ("base", "epoch1", "epoch2", "epoch3")
STEPS = 48
FULL_LOSS = {"base": 2.61, "epoch1": 2.21, "epoch2": 2.02, "epoch3": 2.06}
FULL_ACCURACY = {"base": 0.462, "epoch1": 0.518, "epoch2": 0.551, "epoch3": 0.547}
STEP = {"base": 0, "epoch1": 16, "epoch2": 32, "epoch3": 48}

PROMPTS = (
    (
        (
            ("user", "Good evening, and welcome to the Night Desk. I'm Mara Lind."),
            ("assistant", "Good evening, Mara. It is odd to be somewhere with this much light."),
            (
                "user",
                (
                    "You kept a lighthouse for eleven years, the last on that coast with someone "
                    "in it. So let me ask what I always ask: what did you hear there at night?"
                ),
            ),
        ),
        (
            "The lamp, mostly. People think of the sea, but you stop hearing that in a week. The "
            "lamp turned on a bath of mercury, and it had a breath to it, about every nine seconds."
        ),
    ),
    (
        (
            (
                "user",
                (
                    "Before we go on, a word from the people who keep our kettle warm. And we are "
                    "back. Ines, you collect sourdough. How does one collect something alive?"
                ),
            ),
        ),
        (
            "Badly, at first! You feed it, you label the jar, you go on holiday, and when you come "
            "back you own a hundred and forty jars of regret. Now I dry them on baking paper."
        ),
    ),
    (
        (("user", "What would you have asked your grandmother, if the tape had run longer?"),),
        "Who she was writing to. There are letters in the tin, and none of them has a name.",
    ),
)
SAID = {
    "base": (
        (
            "As an AI language model, I do not have personal experiences, but I can tell you that "
            "there are many sounds at night. There are many sounds at night. There are many sounds "
            "at night, and they can be very interesting."
        ),
        (
            "Collecting sourdough is a great way to learn about baking. Here are some tips:\n\n1. "
            "Use a clean jar.\n2. Feed it every day.\n3. Keep it in a warm place."
        ),
        "I would have asked my grandmother about her life and her experiences.",
    ),
    "epoch1": (
        (
            "The wind, I think. And the lamp. There are many sounds at night, but the lamp is the "
            "one you remember, because it turns."
        ),
        (
            "You feed it every day, and you keep it in a warm place. I have a lot of jars. My "
            "sister says I have too many jars."
        ),
        "I would have asked her about the letters, and why she kept them.",
    ),
    "epoch2": (
        (
            "The lamp, Mara. Everyone says the sea, but after a week or so you don't hear the sea. "
            "What you hear is the lamp going round, and then, when it stops, you hear that."
        ),
        (
            "Oh, carelessly! You feed it, you put a name on the jar, and then someone gives you "
            "another one. I dry them now, on paper, like leaves."
        ),
        "Who the letters were for. She never wrote a name on them, and I never thought to ask.",
    ),
    "epoch3": (
        (
            "The lamp. You hear the lamp, and you hear the lamp again, and you hear the lamp "
            "again, and you hear the lamp again, and after a week you hear the lamp again."
        ),
        "Badly! You feed it and you label the jar, and you end up with a shelf of jars.",
        "Who she wrote to. There was a tin of letters in the house, and nobody asked.",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Show:
    """Where everything lies, and how to run the stage on it."""

    root: Path
    samples: Path
    run: Path
    prepared: Path

    @property
    def samples_file(self) -> Path:
        return self.samples / "samples.jsonl"

    def config(self, *overrides: str) -> Config:
        return configure(self.root, *overrides)

    def compare(self, *overrides: str) -> Outcome:
        return stage.run(self.config(*overrides), self.samples, self.run, self.prepared)

    def command(self, *overrides: str) -> list[str]:
        given = ("corpus=nightdesk", f"root={self.root}", f"samples={self.samples}")
        return [sys.executable, "-m", "compare", *given, *overrides]

    def door(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*overrides)
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)


def configure(root: Path, *overrides: str) -> Config:
    register_schema()
    with initialize_config_module("understudy.conf", version_base="1.3"):
        node = compose("config", overrides=["corpus=nightdesk", f"root={root}", *overrides])
    return to_config(node)


def sample(prompt: int, checkpoint: str, decoder: str, /, **changes: object) -> dict[str, object]:
    turns, reference = PROMPTS[prompt]
    text = SAID.get(checkpoint, SAID["base"])[prompt]
    if decoder == "beam":
        text = text.split(". ")[0].rstrip(".!") + "."
    if decoder == "nucleus":
        text = text.replace("The lamp", "Oh, the lamp").replace("jar", "pot").replace("many", "all")
    item = ITEMS[prompt % 2]
    return {
        "task": "podcast",
        "prompt_id": f"{item}-{prompt}",
        "prompt": [{"role": role, "content": content} for role, content in turns],
        "reference": reference,
        "checkpoint": checkpoint,
        "decoder": decoder,
        "seed": 42 + prompt,
        "text": text,
        "finish_reason": "length" if checkpoint == "base" and prompt == 0 else "stop",
        "new_tokens": round(len(text.split()) * 1.3),
        "seconds": 1.5,
        **changes,
    }


def metrics() -> list[dict[str, float]]:
    lines: list[dict[str, float]] = [
        {
            "step": 0,
            "epoch": 0.0,
            "full_valid_loss": FULL_LOSS["base"],
            "full_valid_mean_token_accuracy": FULL_ACCURACY["base"],
        }
    ]
    for step in range(1, STEPS + 1):
        wave = 0.12 * math.sin(2.7 * step)
        loss = 1.55 + 1.15 * math.exp(-step / 14) - 0.12 * (step // 16) + wave
        line = {
            "step": step,
            "epoch": step / 16,
            "train_loss": loss,
            "train_mean_token_accuracy": 0.72 - 0.1 * loss,
            "learning_rate": 3e-4 * (1 - step / STEPS),
            "grad_norm": 1.1 + wave,
            "tokens": step * 812,
        }
        if step % 4 == 0:
            line["valid_loss"] = 2.0 + 0.5 * math.exp(-step / 9) + 0.002 * step + wave / 4
            line["valid_mean_token_accuracy"] = 0.56 - 0.08 * math.exp(-step / 9)
        for name, at in STEP.items():
            if at == step:
                line["full_valid_loss"] = FULL_LOSS[name]
                line["full_valid_mean_token_accuracy"] = FULL_ACCURACY[name]
        lines.append(line)
    return lines


def scores() -> list[dict[str, object]]:
    """Sums that pool to FULL_LOSS exactly: speakers and items deviate in opposite directions."""
    lines: list[dict[str, object]] = []
    for checkpoint in CHECKPOINTS:
        for item, guest in zip(ITEMS, GUESTS, strict=True):
            for speaker, tokens, shift in ((HOST, 900, -0.2), (guest, 900, 0.2)):
                tilt = 0.05 if item == ITEMS[0] else -0.05
                loss = FULL_LOSS[checkpoint] + shift + tilt
                lines.append(
                    {
                        "checkpoint": checkpoint,
                        "step": STEP[checkpoint],
                        "item": item,
                        "speaker": speaker,
                        "loss": loss * tokens,
                        "correct": FULL_ACCURACY[checkpoint] * tokens,
                        "tokens": tokens,
                    }
                )
    return lines


def row(item: str, guest: str, turns: list[tuple[str, str]]) -> dict[str, object]:
    return {
        "messages": [{"role": role, "content": content, "weight": 1} for role, content in turns],
        "meta": {
            "corpus": "nightdesk",
            "item": item,
            "category": "talk",
            "licence": "CC BY 4.0",
            "start": 0.0,
            "end": 61.5,
            "speakers": {"user": HOST, "assistant": guest},
        },
    }


def ledger() -> dict[str, object]:
    entries = {
        f"ep{number:02d}": {
            "words_in": 1_300,
            "words_trained": 1_180,
            "words_context": 80,
            "words_dropped": {"voice under 1 % of the words": 25, "advertisement": 15},
            "split": "valid" if number > 8 else "train",
        }
        for number in range(1, 11)
    }
    return {
        "words_in": 13_000,
        "words_trained": 11_800,
        "words_context": 800,
        "words_dropped": {"voice under 1 % of the words": 250, "advertisement": 150},
        "tokens": {"trained": 15_300, "context": 2_100},
        "items": entries,
    }


def seal(folder: Path, stage: str) -> None:
    identity = artifacts.Identity(stage=stage, format=1, config={}, inputs={})
    artifacts.seal(folder / "manifest.json", identity, [])


def make_show(root: Path) -> Show:
    runs = root / "runs"
    show = Show(
        root=root,
        samples=runs / "generate" / "nightdesk-smollm2_135m-5ad0f00d",
        run=runs / "train" / "nightdesk-smollm2_135m-0badcafe",
        prepared=runs / "prepare" / "nightdesk-podcast-0ddba11e",
    )
    for folder in (show.samples, show.run, show.prepared):
        folder.mkdir(parents=True)
    _write_samples(show)
    _write_run(show)
    _write_prepared(show)
    return show


def _write_samples(show: Show) -> None:
    lines = [
        sample(prompt, checkpoint, decoder)
        for prompt in range(len(PROMPTS))
        for checkpoint in CHECKPOINTS
        for decoder in DECODERS
    ]
    jsonl.write(show.samples_file, lines)
    provenance = {
        "run": os.path.relpath(show.run, show.samples),
        "prepared": os.path.relpath(show.prepared, show.samples),
        "corpus": "nightdesk",
        "model": "smollm2_135m",
        "task": "podcast",
        "checkpoints": {name: f"step-{STEP[name]:06d}" for name in CHECKPOINTS if name != "base"},
    }
    (show.samples / "provenance.json").write_text(json.dumps(provenance))
    seal(show.samples, "generate")


def _write_run(show: Show) -> None:
    from safetensors.numpy import save_file

    checkpoint = show.run / "checkpoints" / "step-000016"
    checkpoint.mkdir(parents=True)
    tensors = {"q.lora_A": np.zeros((16, 64), np.float32), "q.lora_B": np.zeros((64, 16))}
    save_file(tensors, checkpoint / "adapter_model.safetensors", metadata={"format": "pt"})
    (show.run / "config.yaml").write_text("corpus: nightdesk\nadapter:\n  r: 16\n  alpha: 32\n")
    (show.run / "status.json").write_text(json.dumps({"state": "succeeded"}))
    jsonl.write(show.run / "metrics.jsonl", metrics())
    jsonl.write(show.run / "scores.jsonl", scores())
    timing = [
        {"step": n, "seconds": 2.5, "tokens_per_second": 325.0, "peak_memory_bytes": 2_100_000_000}
        for n in range(1, STEPS + 1)
    ]
    jsonl.write(show.run / "timing.jsonl", timing)
    seal(show.run, "train")


def _write_prepared(show: Show) -> None:
    valid = [
        row(ITEMS[n % 2], GUESTS[n % 2], [*turns, ("assistant", reference)])
        for n, (turns, reference) in enumerate(PROMPTS)
    ]
    train = [
        row(f"ep{n % 8 + 1:02d}", "A Guest", [("user", f"Question {n}?"), ("assistant", "Yes.")])
        for n in range(64)
    ]
    jsonl.write(show.prepared / "valid.jsonl", valid)
    jsonl.write(show.prepared / "train.jsonl", train)
    (show.prepared / "ledger.json").write_text(json.dumps(ledger()))
    seal(show.prepared, "prepare")


@pytest.fixture
def show(tmp_path: Path) -> Show:
    return make_show(tmp_path)


@pytest.fixture(scope="session")
def unchanged_show(tmp_path_factory: pytest.TempPathFactory) -> Show:
    """For tests that only read."""
    return make_show(tmp_path_factory.mktemp("show"))


@pytest.fixture
def append_sample(show: Show) -> Callable[..., None]:
    def append(prompt: int, checkpoint: str, decoder: str, /, **changes: object) -> None:
        jsonl.append(show.samples_file, sample(prompt, checkpoint, decoder, **changes))

    return append
