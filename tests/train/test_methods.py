"""Every method of `adapter=` through the door: it learns, and its checkpoint is what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from understudy.config.adapter import AdapterConfig, AdapterMethod, Quantisation
from understudy.config.model import Dtype

Door = Callable[..., Any]
SHORT = ["schedule.epochs=1", "adapter.dropout=0", "eval=none", "optim.rows_per_step=4"]
IDS = torch.arange(40, 80).reshape(2, 20)
FOUR_BITS = ["adapter.quantisation=nf4", "model.dtype=bf16"]
LORAS = [
    ("rslora", []),
    ("dora", ["optim=paged_adamw_8bit"]),
    ("lora_plus", ["adapter.lr_ratio=4", "optim=adamw_8bit", "adapter.r=64"]),
    pytest.param("rslora", FOUR_BITS, marks=pytest.mark.slow),
    pytest.param("dora", FOUR_BITS, marks=pytest.mark.slow),
]
"""With what each is tried; lora and qlora go through the door in test_stage.py, and each in 4 bits
without a door in tests/models."""


def train(door: Door, arguments: list[str], *others: str) -> Path:
    done = door("train", *arguments, *SHORT, *others)
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip())
    losses = [line["train_loss"] for line in lines(run) if "train_loss" in line]
    assert losses[-1] < losses[0]
    return run


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def newest(run: Path) -> Path:
    return max((run / "checkpoints").iterdir())


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(model.eval()(IDS).logits)


@pytest.mark.parametrize(("method", "others"), LORAS)
def test_a_lora_of_any_kind_learns_and_plain_peft_says_the_same(
    door: Door, arguments: list[str], method: str, others: list[str]
) -> None:
    from peft import PeftModel

    from understudy.config import stored
    from understudy.models.base import load_base
    from understudy.models.switchboard import Switchboard

    run = train(door, arguments, f"adapter={method}", *others)
    config = stored.read(run / "config.yaml")
    folder = newest(run)
    board = Switchboard(load_base(config.model, config.adapter))
    board.add("last", folder)
    with board.speaking("last") as ours:
        said = logits(ours)
    theirs = PeftModel.from_pretrained(load_base(config.model, config.adapter), folder)
    assert torch.equal(logits(theirs), said)
    assert not torch.equal(logits(load_base(config.model, config.adapter)), said)
    saved = json.loads((folder / "adapter_config.json").read_text())
    assert saved["use_dora"] == (config.adapter.method.name == "dora")
    assert saved["use_rslora"] == (method == "rslora")
    trained = load_file(folder / "adapter_model.safetensors")
    assert {str(t.dtype) for t in trained.values()} == {"torch.float32"}
    assert any("lora_magnitude_vector" in name for name in trained) == saved["use_dora"]


def test_unfrozen_weights_are_learned_and_saved_as_a_delta_of_the_base(
    door: Door, arguments: list[str], tiny_model: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from understudy.compare import adapter

    how = ["adapter=unfreeze", "adapter.blocks=1", "model.dtype=bf16", "optim.lr=3e-3"]
    run = train(door, arguments, *how)
    folder = newest(run)
    saved = load_file(folder / "delta.safetensors")
    assert {str(t.dtype) for t in saved.values()} == {"torch.float32"}
    assert not (folder / "adapter_model.safetensors").exists()
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    own = dict(base.named_parameters())
    wanted = {n for n in own if n.startswith("model.layers.1.")} | {"model.embed_tokens.weight"}
    assert saved.keys() == wanted
    assert not any(torch.equal(saved[name], own[name]) for name in saved if "norm" not in name)
    assert adapter.parameters(run) == sum(tensor.numel() for tensor in saved.values())
    before = logits(base)
    assert not base.load_state_dict(saved, strict=False).unexpected_keys
    assert not torch.equal(logits(base), before)


def test_more_blocks_than_there_are_are_refused(door: Door, arguments: list[str]) -> None:
    done = door("train", *arguments, "adapter=unfreeze", "adapter.blocks=40")
    assert done.returncode == 2
    assert "adapter.blocks=40: this model has 2 blocks" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "unfreeze", "blocks": 1, "head": True, "quantisation": "nf4"}, "4 bits cannot"),
        ({"method": "unfreeze", "blocks": 0, "head": False}, "trains nothing"),
        ({"method": "unfreeze", "head": True}, "adapter=unfreeze needs adapter.blocks"),
        ({"method": "lora", "lr_ratio": 4.0}, "belongs to adapter=lora_plus, and this is lora"),
        ({"method": "dora", "blocks": 2}, "belongs to adapter=unfreeze"),
        ({"dtype": "fp16"}, "use fp32, or bf16"),
    ],
)
def test_what_does_not_go_together_is_answered_in_words(
    settings: dict[str, Any], words: str
) -> None:
    kinds = {"method": AdapterMethod, "quantisation": Quantisation, "dtype": Dtype}
    values = {k: kinds[k][v] if k in kinds else v for k, v in settings.items()}
    with pytest.raises(ValueError, match=words):
        AdapterConfig(**values)


@pytest.mark.slow
def test_the_real_small_model_learns_in_four_bits(door: Door, corpus: Callable[..., Path]) -> None:
    corpus(items=3, turns=4)
    done = door(
        "train",
        "corpus=show",
        "split=count",
        "model=smollm2_135m",
        "model.context=128",
        "adapter=qlora",
        "schedule.epochs=1",
        "eval=none",
        "optim.rows_per_step=64",
    )
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip())
    assert len([line for line in lines(run) if "train_loss" in line]) >= 1
    trained = load_file(newest(run) / "adapter_model.safetensors")
    ups = [tensor for name, tensor in trained.items() if "lora_B" in name]
    # Gradients reach the first block through 29 others in 4 bits.
    assert all(bool(tensor.any()) for tensor in ups)
