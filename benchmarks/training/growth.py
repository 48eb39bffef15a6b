"""What training costs as contexts and prepared sets grow."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from training import meter, rows
from training.comparison import tidy
from training.party import Party, Setting, alone, elsewhere

CONTEXTS = (256, 512, 1024, 2048, 4096)
COUNTS = (100, 1000, 10_000)
STEPS = 25
"""Real steps of a tiny model, for each size of the set."""
PEER = Party(name="transformers Trainer, batch 1", kind="trainer")


def measure(
    overrides: Sequence[str],
    ours: Party,
    folder: Path,
    *,
    contexts: Sequence[int] = CONTEXTS,
    counts: Sequence[int] = COUNTS,
) -> dict[str, Any]:
    """Both growths; the ratio is ours over the Trainer where we are least ahead."""
    found = [one_context(overrides, ours, folder, length) for length in contexts]
    sizes = [one_count(folder, count) for count in counts]
    least = min(found, key=lambda one: float(one["ratio"] or 0))
    return {
        "name": "train growth",
        **{key: least[key] for key in ("unit", "ours", "peer", "peer_name", "ratio", "conditions")},
        "cases": found,
        "rows": sizes,
    }


def one_context(overrides: Sequence[str], ours: Party, folder: Path, length: int) -> dict[str, Any]:
    """Ours and the Trainer on rows of one length."""
    from understudy.config.model import ModelConfig
    from understudy.models.tokenizer import load_encoder

    base = next(o for o in overrides if o.startswith("model.base=")).partition("=")[2]
    encoder = load_encoder(ModelConfig(name="smollm2_135m", base=base, dialect="smollm2"))
    path = folder / f"growth-{length}.json"
    rows.write(path, rows.full_rows(encoder, 1, length))
    given = (*overrides, f"model.context={max(length, 32)}")
    setting = Setting(
        overrides=given, rows=str(path), rows_per_step=1, epochs=3, warm_epochs=1, judged=1
    )
    mine, theirs = alone(setting, ours), alone(setting, PEER)
    whole = "failed" not in mine and "failed" not in theirs
    return {
        "name": f"rows of {length} tokens",
        "unit": "real tokens/s",
        "ours": tidy(mine.get("tokens_per_second", 0.0)),
        "peer": tidy(theirs.get("tokens_per_second", 0.0)),
        "peer_name": PEER.name,
        "ratio": round(mine["tokens_per_second"] / theirs["tokens_per_second"], 3)
        if whole
        else None,
        "conditions": "one row a step, the second and third step timed, a fresh process each",
        "context": length,
        "parties": [{"name": ours.name, **mine}, {"name": PEER.name, **theirs}],
    }


def one_count(folder: Path, count: int) -> dict[str, Any]:
    """The data's way through training for a set of so many rows, in a process of its own."""
    prepared = folder / f"prepared-{count}"
    write_set(prepared, count)
    return elsewhere({"growth": str(prepared)})


def write_set(folder: Path, count: int) -> None:
    """A prepared set of short chats, and one held-out row."""
    draw = random.Random(count)  # noqa: S311  # made-up rows
    talks = rows.talks()
    folder.mkdir(parents=True)
    lines = []
    for number in range(count):
        talk = draw.choice(talks)
        first = draw.randrange(len(talk) - 1)
        said = [" ".join(text.split()[: draw.randint(10, 120)]) for text in talk[first : first + 2]]
        messages = [
            {"role": role, "content": text, "weight": 1}
            for role, text in zip(("user", "assistant"), said, strict=True)
        ]
        lines.append(
            json.dumps({"messages": messages, "meta": {"corpus": "b", "item": f"{number}"}})
        )
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "valid.jsonl").write_text(lines[0] + "\n", encoding="utf-8")


def data_path(prepared: Path) -> dict[str, Any]:
    """Seconds from rows on disk to tensors, step by step, and of real steps of a tiny model."""
    from training import ours
    from understudy.models.tokenizer import load_encoder
    from understudy.train import data, plan
    from understudy.train.batch import collate
    from understudy.train.layout import lay_out
    from understudy.train.memory import MemoryPlan

    setting = Setting(overrides=("adapter.r=4", "model.dtype=fp32"), rows="", rows_per_step=8)
    config = ours.config_of(setting, Party(name="ours", kind="ours"))
    encoder = load_encoder(config.model)
    encoder.row([])
    held = meter.reset_peak()
    found: dict[str, Any] = {}
    clock = _Clock(found)
    dataset = data.load(prepared, encoder, config.model.context)
    clock("load_seconds")
    steps = plan.plan([e.supervised for e in dataset.train], config.optim, 1, config.seed)
    plan.write_down(prepared, steps)
    clock("plan_seconds")
    for name, memory in (("padded", MemoryPlan()), ("packed", MemoryPlan(packing=True))):
        for step in steps:
            examples = [dataset.train[row] for row in step.rows]
            for lines in lay_out(examples, memory, config.model.context):
                collate(lines, 0, "cpu")
        clock(f"layout_and_tensors_{name}_seconds")
    found["growth_bytes"] = meter.peak() - held
    chosen = replace(config, optim=replace(config.optim, lr=1e-3))
    run = ours.training(chosen, tiny_model(config, encoder), dataset.train)
    from understudy.train.step import take

    for step in run.steps[:2]:
        take(run, step)
    clock("")
    taken = run.steps[2:][:STEPS]
    for step in taken:
        take(run, step)
    clock("steps_seconds")
    tokens = sum(len(e.ids) for e in dataset.train)
    found |= {"rows": len(dataset.train), "tokens": tokens}
    found["seconds_a_step"] = found.pop("steps_seconds") / max(1, len(taken))
    found.pop("", None)
    return found


class _Clock:
    """Notes the seconds since it was last asked."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.began = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.found[name] = round(now - self.began, 4)
        self.began = now


def tiny_model(config: Any, encoder: Any) -> Any:  # noqa: ANN401
    """A random Llama so small that a step is mostly our own work."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from understudy.models import learned

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(encoder.tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    base = LlamaForCausalLM(shape)
    base.requires_grad_(requires_grad=False)
    return learned.attach(base, config.adapter)
