"""Tiny random models of many architectures, made-up rows, and a run put together by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from hydra import compose, initialize_config_module

from understudy import door
from understudy.artifacts import Identity
from understudy.chat.encoder import IGNORED
from understudy.config import Config
from understudy.config.model import Dtype
from understudy.train import plan, recompute
from understudy.train.batch import Batch
from understudy.train.data import Dataset, Example
from understudy.train.training import Training, begin

VOCABULARY = 300
END = 2
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": END,
}


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny products are faster on one thread, and their sums are made in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def random_model(
    kind: str = "Llama", dtype: Dtype = Dtype.fp32, attention: str = "eager", **settings: Any
) -> Any:
    """A random model of an architecture, the same one every time, in evaluation mode."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **settings})
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation=attention, dtype=getattr(torch, dtype.value)
    )
    return model.eval()


def with_lora(model: Any, *, dropout: float = 0.0, zero: bool = False) -> Any:
    """LoRA on every linear layer of a frozen base; B is random unless `zero`, for A to matter."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model.requires_grad_(requires_grad=False)
    lora = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear",
        task_type="CAUSAL_LM", init_lora_weights=zero,
    )  # fmt: skip
    return get_peft_model(model, lora, autocast_adapter_dtype=True)


def talk(chance: random.Random, *, turns: int, longest: int, item: str = "a") -> Example:
    """A row of several turns, each learned or only read; at least one is learned.

    One in two has no start token: then its very first token may bear a label, which nothing
    predicts.
    """
    weights = [chance.randint(0, 1) for _ in range(turns)]
    weights[chance.randrange(turns)] = 1
    ids, labels = ([1], [IGNORED]) if chance.random() < 0.5 else ([], [])
    for weight in weights:
        turn = [*(chance.randrange(3, VOCABULARY) for _ in range(chance.randint(1, longest))), END]
        ids += turn
        labels += turn if weight else [IGNORED] * len(turn)
    voices = [-1 if label == IGNORED else 0 for label in labels]
    return Example(ids=ids, labels=labels, item=item, speakers=["x"], voices=voices)


def talks(seed: int, count: int, *, longest: int = 12) -> list[Example]:
    """Rows with one to four turns."""
    chance = random.Random(seed)
    return [
        talk(chance, turns=chance.randint(1, 4), longest=longest, item=f"item-{number}")
        for number in range(count)
    ]


@cache
def _config(overrides: tuple[str, ...]) -> Config:
    door.register_schema()
    with initialize_config_module("understudy.conf", version_base="1.3"):
        return door.to_config(compose("config", overrides=["corpus=x", *overrides]))


def config(*overrides: str) -> Config:
    """A config as a door would compose it, `memory` fixed."""
    return _config(("model.context=128", "model.dtype=fp32", "memory=plain", *overrides))


def training(
    model: Any, rows: Sequence[Example], folder: Path, settings: Config | None = None
) -> Training:
    """A run that is ready for its first step."""
    settings = settings or config()
    folder.mkdir(parents=True, exist_ok=True)
    supervised = [row.supervised for row in rows]
    steps = plan.plan(supervised, settings.optim, settings.schedule.epochs, settings.seed)
    encoder: Any = SimpleNamespace(end_ids=lambda: [END])
    return begin(
        settings,
        model,
        identity=Identity(stage="train", format=0, config={}, inputs={}),
        folder=folder,
        encoder=encoder,
        data=Dataset(list(rows), []),
        steps=steps,
    )


def laid_out(run: Training, **memory: Any) -> Training:
    """The same run under another plan of memory."""
    plan = replace(run.memory, **memory)
    recompute.apply(run.model, plan)
    return replace(run, memory=plan)


def labels_of(batch: Batch) -> torch.Tensor:
    """What each position of a batch is to predict, [b, t]; IGNORED where nothing is."""
    labels = torch.full((batch.ids_bt.numel(),), IGNORED)
    labels[batch.places_n] = batch.labels_n
    return labels.view(batch.ids_bt.shape)
