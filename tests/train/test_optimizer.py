"""Every optimiser over every kind of weights: put back, it goes on as if never stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from understudy import artifacts
from understudy.config.adapter import AdapterConfig, AdapterMethod
from understudy.config.optim import OptimConfig, Optimizer
from understudy.models import learned
from understudy.train import checkpoint, optimizer

ADAPTERS = {
    "lora": AdapterConfig(r=64),
    "lora_plus": AdapterConfig(method=AdapterMethod.lora_plus, r=64, lr_ratio=16),
    "unfreeze": AdapterConfig(method=AdapterMethod.unfreeze, blocks=1, head=True),
}
"""With r=64 the adapters of a layer 64 wide have 4,096 numbers, from where on 8 bits are used."""
IDS = torch.arange(40).reshape(2, 20)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Config:
    """As much of the config as the optimiser reads."""

    def __init__(self, adapter: AdapterConfig, name: Optimizer) -> None:
        self.adapter = adapter
        self.optim = OptimConfig(name=name, lr=1e-2, weight_decay=0.1)


def ready(config: Any) -> tuple[Any, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    base = LlamaForCausalLM(shape)
    base.requires_grad_(requires_grad=False)
    model = learned.attach(base, config.adapter)
    return model, optimizer.build(model, config)


def learn(model: Any, optim: Any, steps: range) -> None:
    for number in steps:
        optimizer.set_rate(optim, 1e-2 / (1 + number))
        model(IDS, labels=IDS).loss.backward()
        optim.step()
        optim.zero_grad(set_to_none=True)


def write(model: Any, optim: Any, folder: Path) -> None:
    learned.save(model, folder)
    tensors, scalars = checkpoint._flatten(optimizer.state(optim))
    save_file(tensors, folder / "optimizer.safetensors")
    artifacts.write_json(folder / "trainer.json", scalars)


def read(model: Any, optim: Any, folder: Path) -> None:
    learned.restore(model, folder)
    scalars = json.loads((folder / "trainer.json").read_text())
    tensors = load_file(folder / "optimizer.safetensors")
    optimizer.restore(optim, checkpoint._unflatten(tensors, scalars))


@pytest.mark.parametrize("name", list(Optimizer), ids=lambda n: n.name)
@pytest.mark.parametrize("method", sorted(ADAPTERS))
@pytest.mark.filterwarnings("error:Paged optimizers:UserWarning")
def test_stopped_and_put_back_is_bitwise_never_stopped(
    name: Optimizer, method: str, tmp_path: Path
) -> None:
    config = Config(ADAPTERS[method], name)
    calm, stopped, resumed = (tmp_path / part for part in ("calm", "stopped", "resumed"))
    for folder in (calm, stopped, resumed):
        folder.mkdir()
    model, optim = ready(config)
    learn(model, optim, range(3))
    write(model, optim, stopped)
    learn(model, optim, range(3, 6))
    write(model, optim, calm)
    model, optim = ready(config)
    read(model, optim, stopped)
    learn(model, optim, range(3, 6))
    write(model, optim, resumed)
    for file in calm.iterdir():
        assert (resumed / file.name).read_bytes() == file.read_bytes(), file.name
    formats = {str(t.dtype) for t in load_file(calm / "optimizer.safetensors").values()}
    assert ("torch.uint8" in formats) == ("8bit" in name.name)


@pytest.mark.parametrize("name", list(Optimizer), ids=lambda n: n.name)
def test_lora_plus_is_lora_whose_b_learns_faster(name: Optimizer) -> None:
    _, optim = ready(Config(ADAPTERS["lora_plus"], name))
    optimizer.set_rate(optim, 1e-3)
    downs, ups = optim.param_groups
    assert (downs["lr"], ups["lr"]) == (1e-3, 16e-3)
    assert downs["weight_decay"] == ups["weight_decay"] == 0.1
    assert {p.shape for p in downs["params"]} == {p.shape for p in ups["params"]} == {(64, 64)}


def test_the_optimisers_state_is_in_the_format_of_the_weights(tmp_path: Path) -> None:
    from understudy.config.model import Dtype

    model, optim = ready(Config(AdapterConfig(r=4, dtype=Dtype.bf16), Optimizer.adamw))
    learn(model, optim, range(1))
    write(model, optim, tmp_path)
    tensors = load_file(tmp_path / "optimizer.safetensors")
    moments = {str(t.dtype) for name, t in tensors.items() if "exp_avg" in name}
    assert moments == {"torch.bfloat16"}
    before = optim.state_dict()["state"]
    model, optim = ready(Config(AdapterConfig(r=4, dtype=Dtype.bf16), Optimizer.adamw))
    read(model, optim, tmp_path)
    after = optim.state_dict()["state"]
    assert all(torch.equal(before[i][n], after[i][n]) for i in before for n in before[i])
