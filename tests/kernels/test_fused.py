"""Fused kernels compute what transformers computes, and touch one model alone.

Their code for the GPU runs here in triton's interpreter, in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch

from understudy.kernels import fused

PROGRAM = Path(__file__).parents[1] / "support" / "interpreted.py"
FAMILIES = ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma2"]
"""Of the shipped models, and one that normalises queries and keys."""


@pytest.fixture(scope="module")
def interpreted() -> Any:
    if find_spec("triton") is None or find_spec("liger_kernel") is None:
        pytest.skip("liger-kernel is not installed (pip install 'understudy[gpu]'; Linux only)")
    done = subprocess.run(
        [sys.executable, PROGRAM],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_transformers(interpreted: Any, family: str) -> None:
    # One of them with activation checkpointing.
    assert interpreted["families"][family]["apart"] < 1e-5


def test_they_agree_with_the_other_levers(interpreted: Any) -> None:
    # LoRA layers in one function each, and the MLP in tiles: what is written over, nobody needs.
    assert interpreted["families"]["Llama"]["together"] < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_norm_mlp_and_attention_is_fused_once(interpreted: Any, family: str) -> None:
    found = interpreted["families"][family]
    norms = 9 if family in {"Qwen3", "Gemma2"} else 5
    rotary = "attentions' rotary positions"
    assert found["counts"] == {"norms": norms, "gated MLPs": 2, rotary: 2}
    assert found["again"] == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_models_and_transformers_itself_are_not_touched(
    interpreted: Any, family: str
) -> None:
    found = interpreted["families"][family]
    assert found["names_changed"] == []
    assert found["others"] == 0
    assert found["taken_off"] == 0


def test_a_kernel_that_computes_wrongly_is_seen_before_training(interpreted: Any) -> None:
    assert interpreted["tried"] == "its result is not torch's"


def none() -> fused.Kernels:
    """Kernels that must not be called."""
    return fused.Kernels(norm=None, silu=None, gelu=None, rotary=None)


def test_formulas_that_are_not_known_stay_plain() -> None:
    # Phi-3 has gate and up in one matrix, and its positions turn a part of each head.
    phi = by_hand.random_model("Phi3", pad_token_id=0)
    assert set(fused.bind(phi, none())) == {"norms"}
    # What is known by its code is not known with another activation.
    llama = by_hand.random_model("Llama", hidden_act="relu")
    assert set(fused.bind(llama, none())) == {"norms", "attentions' rotary positions"}
    assert not fused.bind(by_hand.random_model("GPT2", n_embd=32, n_layer=2, n_head=4), none())


def test_a_forward_pass_that_something_else_has_replaced_is_left() -> None:
    model = by_hand.random_model("Llama")
    mlp = model.model.layers[0].mlp
    theirs = mlp.forward = lambda x: x
    assert fused.bind(model, none())["gated MLPs"] == 1
    assert mlp.forward is theirs
    fused.take_off(model)
    assert mlp.forward is theirs
    other = model.model.layers[1].mlp
    assert "forward" not in other.__dict__
    # It stands there where tiles came off again, and is the model's own.
    other.forward = other.forward
    assert fused.bind(model, none())["gated MLPs"] == 1


def test_without_a_gpu_nothing_changes_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = by_hand.random_model("Llama")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fused.put_on(model) == "kernels: plain ones are used: fused ones need a CUDA GPU"
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_without_liger_kernel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    model = by_hand.random_model("Llama")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(fused, "version", missing)
    assert fused.put_on(model) == (
        "kernels: plain ones are used: liger-kernel is not installed "
        "(pip install 'understudy[gpu]')"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("cannot import name 'LigerRopeFunction'"), "cannot import name"),
        (RuntimeError("Failed to find C compiler"), "Failed to find C compiler"),
        (subprocess.CalledProcessError(1, ["gcc"]), "returned non-zero exit status 1"),
    ],
)
def test_where_kernels_do_not_run_plain_ones_are_used_and_it_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def broken() -> fused.Kernels:
        raise error

    model = by_hand.random_model("Llama")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(fused, "version", lambda _: "0.8.5")
    monkeypatch.setattr(fused, "load", broken)
    said = fused.put_on(model)
    assert said.startswith("kernels: plain ones are used: liger-kernel 0.8.5 does not run here (")
    assert words in said
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_it_says_what_it_put_on_or_that_the_model_has_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(fused, "version", lambda _: "0.8.5")
    monkeypatch.setattr(fused, "load", none)
    monkeypatch.setattr(fused, "_try", lambda *_: None)
    assert fused.put_on(by_hand.random_model("Llama")) == (
        "kernels: liger-kernel 0.8.5 computes 2 attentions' rotary positions, 2 gated MLPs, 5 norms"
    )
    assert fused.put_on(by_hand.random_model("GPT2", n_embd=32, n_layer=2, n_head=4)) == (
        "kernels: plain ones are used: liger-kernel 0.8.5 has none for the formulas of "
        "model type gpt2"
    )
