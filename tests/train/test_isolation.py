"""Rows that share a line are blind to each other, on every attention that may pack: measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from understudy.config.memory import Attention
from understudy.config.model import Dtype
from understudy.console import RunFailedError, UserError
from understudy.models.base import load_base
from understudy.train import isolation
from understudy.train.precision import Precision

Door = Callable[..., Any]
DTYPES = [Dtype.fp32, Dtype.bf16]
MODELS = [
    ("Llama", "sdpa", {}),
    ("Llama", "eager", {}),
    # Shorter than every document of the check: the window and the border of a row both cut.
    ("Mistral", "sdpa", {"sliding_window": 6}),
    ("Mistral", "eager", {"sliding_window": 6}),
    ("Gemma2", "eager", {"sliding_window": 6}),
    ("Qwen2", "sdpa", {}),
    ("Qwen2", "eager", {}),
    # Positions are learned, and added to the embedding: a row must count from 0 again.
    ("GPT2", "sdpa", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with by_hand.one_thread():
        yield


def bare(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any) -> Any:
    """An attention that transformers knows no mask for: it is given none, and rows leak."""
    return sdpa_attention_forward(module, query, key, value, attention_mask, **more)


def seeping(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any) -> Any:
    """A tenth of what every token attends to lies beyond the border of its row."""
    isolated = sdpa_attention_forward(module, query, key, value, attention_mask, **more)[0]
    leaked = sdpa_attention_forward(module, query, key, value, None, **more)[0]
    return 0.9 * isolated + 0.1 * leaked, None


AttentionInterface.register("bare", bare)
AttentionInterface.register("seeping", seeping)
AttentionMaskInterface.register("seeping", sdpa_mask)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "attention", "settings"), MODELS)
def test_rows_do_not_see_each_other(
    kind: str, attention: str, settings: dict[str, Any], dtype: Dtype
) -> None:
    model = by_hand.random_model(kind, dtype, attention, **settings)
    found = isolation.measure(model, Precision(dtype, "cpu"))
    assert found.neighbours == 0
    assert found.layouts < found.layouts_bound / 4
    isolation.check_model(model, Precision(dtype, "cpu"), Attention(attention))


@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2"])
def test_an_attention_without_a_mask_is_refused(kind: str, dtype: Dtype) -> None:
    model = by_hand.random_model(kind, dtype, "bare")
    refused(model, dtype)


@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_mask_of_ones_is_refused(
    attention: str, dtype: Dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap: with any mask given, transformers makes none from the positions."""
    model = by_hand.random_model("Llama", dtype, attention)
    plain = model.model.forward

    def masked(**more: Any) -> Any:
        shape = more["inputs_embeds"].shape[:2]
        return plain(**{**more, "attention_mask": torch.ones(shape, dtype=torch.long)})

    monkeypatch.setattr(model.model, "forward", masked)
    refused(model, dtype)


def test_a_leak_that_hides_in_the_rounding_of_layouts_is_refused() -> None:
    """bf16's steps are so coarse that only the same shapes beside another neighbour tell."""
    model = by_hand.random_model("Llama", Dtype.bf16, "seeping")
    found = isolation.measure(model, Precision(Dtype.bf16, "cpu"))
    assert found.layouts < found.layouts_bound
    refused(model, Dtype.bf16)


def test_positions_that_run_on_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No neighbour is seen, but a row is not what it is by itself."""
    model = by_hand.random_model("GPT2", n_embd=32, n_layer=2, n_head=4)
    table = model.transformer.wpe
    plain = table.forward
    monkeypatch.setattr(table, "forward", lambda at: plain(torch.arange(at.shape[1]).expand_as(at)))
    found = isolation.measure(model, Precision(Dtype.fp32, "cpu"))
    assert found.neighbours == 0
    assert not found.holds


def refused(model: Any, dtype: Dtype) -> None:
    with pytest.raises(UserError) as caught:
        isolation.check_model(model, Precision(dtype, "cpu"), Attention.sdpa)
    said = str(caught.value)
    assert "memory.attention=sdpa" in said
    assert type(model).__name__ in said
    assert "memory.packing=false" in said
    assert "memory.attention=eager" in said


def test_weights_that_are_not_finite_are_not_taken_for_a_leak() -> None:
    model = by_hand.random_model()
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(RunFailedError, match="LlamaForCausalLM are not finite"):
        isolation.check_model(model, Precision(Dtype.fp32, "cpu"), Attention.sdpa)


def test_nothing_is_left_behind_and_dropout_is_off() -> None:
    model = by_hand.with_lora(by_hand.random_model(attention="sdpa"), dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    isolation.check_model(model, Precision(Dtype.fp32, "cpu"), Attention.sdpa)
    assert model.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_run_is_checked_only_where_it_packs(tmp_path: Path) -> None:
    run = by_hand.training(by_hand.random_model(attention="bare"), by_hand.talks(0, 4), tmp_path)
    isolation.check(run)
    with pytest.raises(UserError, match="see each other"):
        isolation.check(by_hand.laid_out(run, packing=True))


def test_flash_attention_without_its_package_says_what_to_do(
    door: Door, arguments: list[str]
) -> None:
    done = door("train", *arguments, "memory.attention=flash_attention_2")
    assert done.returncode == 2, done.stderr
    assert "pip install flash-attn" in done.stderr
    assert "memory.attention=sdpa" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_attention_that_a_model_has_not_names_those_it_may_have(tmp_path: Path) -> None:
    by_hand.random_model("Gemma2").save_pretrained(tmp_path / "gemma")
    settings = by_hand.config(f"model.base={tmp_path / 'gemma'}", "memory.attention=sdpa")
    with pytest.raises(UserError) as caught:
        load_base(settings.model, settings.adapter, settings.memory)
    assert "memory.attention=sdpa does not go with this model" in str(caught.value)
    assert "Set memory.attention=eager" in str(caught.value)
    allowed = replace(settings.memory, attention=Attention.eager)
    # Where nobody chose, as when a checkpoint speaks, transformers takes one that goes.
    for memory in (allowed, None):
        model = load_base(settings.model, settings.adapter, memory)
        assert model.config._attn_implementation == "eager"
