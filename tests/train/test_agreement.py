"""Kernels that would learn something else on this machine are refused before step 1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch

from understudy.config.model import Dtype
from understudy.console import UserError
from understudy.kernels import attention, blockwise, lora
from understudy.train import agreement
from understudy.train.training import Training


def run_of(tmp_path: Path, dtype: Dtype = Dtype.fp32, kind: str = "Llama") -> Training:
    attention.register()
    model = by_hand.random_model(kind, dtype, attention=attention.NAME)
    settings = by_hand.config(f"model.dtype={dtype.name}", "memory=packed")
    rows = by_hand.talks(3, 6, longest=40)
    return by_hand.training(by_hand.with_lora(model, dropout=0.5), rows, tmp_path, settings)


@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen3"])
def test_our_kernels_agree_and_nothing_is_left_behind(
    kind: str, dtype: Dtype, tmp_path: Path
) -> None:
    run = run_of(tmp_path, dtype, kind)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    generator = torch.get_rng_state()
    agreement.check(run)
    assert torch.equal(torch.get_rng_state(), generator)
    assert run.model.training
    assert all(p.grad is None for p in run.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert run.model.config._attn_implementation == attention.NAME
    assert lora.take_off(run.model) == 14


class Louder(blockwise._Row):
    """Scores that are half as large again."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given[:-2], 1.5 * given[-2], given[-1])


class Ahead(blockwise._Row):
    """Each token sees the one after it."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._ahead_nn = self._ahead_nn.triu(2).nan_to_num(nan=0.0, neginf=-torch.inf)


@pytest.mark.parametrize("dtype", [Dtype.fp32, Dtype.bf16])
@pytest.mark.parametrize("row", [Louder, Ahead])
def test_an_attention_that_computes_something_else_is_refused(
    row: type[blockwise._Row], dtype: Dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, dtype)
    monkeypatch.setattr(blockwise, "_Row", row)
    with pytest.raises(UserError, match=r"memory\.attention=sdpa memory\.fused=false"):
        agreement.check(run)
    assert run.model.config._attn_implementation == attention.NAME


def test_a_lora_that_learns_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = lora._LoraLinear.backward

    def halved(ctx: Any, grad: torch.Tensor) -> Any:
        dx, dropped, base, da, db, scaling = plain(ctx, grad)
        return dx, dropped, base, da, 0.5 * db, scaling

    monkeypatch.setattr(lora._LoraLinear, "backward", staticmethod(halved))
    run = run_of(tmp_path)
    with pytest.raises(UserError, match="would learn something else with our kernels"):
        agreement.check(run)
    off = replace(run.config, memory=replace(run.config.memory, fused=False))
    lora.take_off(run.model)
    agreement.check(replace(run, config=off))
