"""Number formats: what is computed in which, and the scaling that fp16 needs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
from transformers import AutoTokenizer

from understudy.config import Config
from understudy.config.model import Dtype
from understudy.console import RunFailedError
from understudy.records.checkpoints import Checkpoint, Progress
from understudy.train import checkpoint, loss
from understudy.train.batch import collate
from understudy.train.loop import _note
from understudy.train.precision import LEAST_SCALE
from understudy.train.step import Taken, take
from understudy.train.training import Training

Door = Callable[..., Any]
ROWS = 3
"""Rows of one step."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with by_hand.one_thread():
        yield


def settings(*overrides: str) -> Config:
    return by_hand.config(
        "model.dtype=fp16", "optim.lr=1e-2", f"optim.rows_per_step={ROWS}",
        "schedule.shape=constant", "schedule.warmup_steps=0", *overrides,
    )  # fmt: skip


def fresh(folder: Path, *overrides: str, dropout: float = 0.0) -> Training:
    """A run of a tiny LoRA on an fp16 base, at its beginning, the same one every time."""
    base = by_hand.random_model(dtype=Dtype.fp16)
    model = by_hand.with_lora(base, dropout=dropout, zero=True)
    run = by_hand.training(model, by_hand.talks(5, 2 * ROWS), folder, settings(*overrides))
    torch.manual_seed(9)
    return run


def scaled(run: Training, scale: float, *, interval: int = 2000) -> None:
    """Put the loss scale somewhere."""
    state = {**run.precision.state(), "scale": scale, "growth_interval": interval}
    run.precision.restore(state)


def learned(run: Training) -> dict[str, Any]:
    return {name: p.detach().clone() for name, p in run.model.named_parameters() if p.requires_grad}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# --- through the door ---


def test_fp16_trains_on_a_cpu_and_says_its_scale(
    door: Door, arguments: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    # CPUs are slow at fp16, and most of the work is the head's: so the model is a narrow one.
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    narrow = {"hidden_size": 16, "num_attention_heads": 2, "tie_word_embeddings": True}
    model = by_hand.random_model("Llama", vocab_size=len(tokenizer), **narrow)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "narrow")
    quick = ("schedule.epochs=1", "eval.full=false", "eval.every_steps=null", "eval.speak_tokens=0")
    base = f"model.base={tmp_path / 'narrow'}"
    done = door("train", *arguments, base, "model.dtype=fp16", "memory.packing=true", *quick)
    assert done.returncode == 0, done.stderr
    lines = (Path(done.stdout.strip()) / "metrics.jsonl").read_text().splitlines()
    steps = [line for line in map(json.loads, lines) if "train_loss" in line]
    assert all(math.isfinite(step["train_loss"] + step["grad_norm"]) for step in steps)
    assert steps[-1]["train_loss"] < steps[0]["train_loss"]
    assert all(step["loss_scale"] >= LEAST_SCALE for step in steps)


@pytest.mark.parametrize("dtype", list(Dtype))
def test_fp16_alone_writes_a_scale_down(dtype: Dtype, tmp_path: Path) -> None:
    model = by_hand.with_lora(by_hand.random_model(dtype=dtype))
    config = settings(f"model.dtype={dtype.name}")
    run = by_hand.training(model, by_hand.talks(5, ROWS), tmp_path, config)
    at = Progress(step=1, epoch=1, ends_epoch=True, tokens=1)
    _note(run, at, take(run, run.steps[0]), 1.0)
    (line,) = run.journal.metrics
    assert line.get("loss_scale") == (2.0**16 if dtype is Dtype.fp16 else None)
    assert ("loss_scale" in line) == (dtype is Dtype.fp16)
    assert bool(run.precision.state()) == (dtype is Dtype.fp16)


# --- overflow ---


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "paged_adamw_32bit"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_overflow_computes_the_step_again_and_nothing_else_differs(
    tmp_path: Path, name: str, dropout: float
) -> None:
    optim = f"optim.name={name}"
    high = fresh(tmp_path / "high", optim, dropout=dropout)
    scaled(high, 2.0**24)
    first, second = [take(high, step) for step in high.steps[:2]]
    end = high.precision.scale
    assert end is not None
    assert LEAST_SCALE < end < 2.0**24
    events = (tmp_path / "high" / "events.jsonl").read_text().splitlines()
    assert "step 1 overflowed at loss scale 1.67772e+07: again at 8.38861e+06" in events[0]
    assert len(events) == math.log2(2.0**24 / end)
    good = fresh(tmp_path / "good", optim, dropout=dropout)
    scaled(good, end)
    assert [take(good, step) for step in good.steps[:2]] == [first, second]
    assert same(learned(high), learned(good))
    assert same(_states(high), _states(good))
    assert not same(learned(good), learned(fresh(tmp_path / "none", optim)))


def _states(run: Training) -> dict[str, Any]:
    states = run.optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": value
        for index, entries in states.items()
        for key, value in entries.items()
        if isinstance(value, torch.Tensor)
    }


def test_a_norm_that_alone_is_infinite_takes_no_step(tmp_path: Path) -> None:
    """Every gradient is finite, only their sum of squares is not: no step may slip through."""
    run = fresh(tmp_path)
    scaled(run, 1024.0)
    before = learned(run)
    torch.manual_seed(0)
    calls: list[float] = []
    unscale = run.precision.unscale

    def large(optimizer: Any) -> None:
        unscale(optimizer)
        calls.append(1.0)
        if len(calls) == 1:
            for parameter in run.trained:
                parameter.grad.fill_(1e25)

    run.precision.unscale = large  # type: ignore[method-assign]
    rows_seen = take(run, run.steps[0])
    assert len(calls) == 2
    assert run.precision.scale == 512.0
    clean = fresh(tmp_path / "clean")
    scaled(clean, 512.0)
    assert take(clean, clean.steps[0]) == rows_seen
    assert same(learned(run), learned(clean))
    assert not same(learned(run), before)


def test_a_scale_with_nothing_left_to_give_stops_the_run_and_names_the_rows(
    tmp_path: Path,
) -> None:
    run = fresh(tmp_path)
    scaled(run, 4.0)
    unscale = run.precision.unscale

    def broken(optimizer: Any) -> None:
        unscale(optimizer)
        run.trained[0].grad[0, 0] = float("inf")

    run.precision.unscale = broken  # type: ignore[method-assign]
    before = learned(run)
    with pytest.raises(RunFailedError) as caught:
        take(run, run.steps[0])
    said = str(caught.value)
    assert "gradient norm inf is not finite at step 1" in said
    assert str(list(run.steps[0].rows)) in said
    assert all(run.data.train[row].item in said for row in run.steps[0].rows)
    assert "model.dtype=bf16" in said
    assert run.precision.scale == LEAST_SCALE
    assert same(learned(run), before)


@pytest.mark.parametrize("dtype", list(Dtype))
def test_a_loss_that_is_not_finite_stops_the_run_at_once(tmp_path: Path, dtype: Dtype) -> None:
    model = by_hand.with_lora(by_hand.random_model(dtype=dtype), zero=True)
    model.get_base_model().lm_head.weight.data[7, 0] = float("nan")
    config = settings(f"model.dtype={dtype.name}")
    run = by_hand.training(model, by_hand.talks(5, ROWS), tmp_path, config)
    with pytest.raises(RunFailedError, match=r"loss nan .* at step 1, rows \["):
        take(run, run.steps[0])
    assert not (tmp_path / "events.jsonl").exists()


# --- resuming ---


def test_a_resumed_fp16_run_is_bitwise_the_one_that_was_never_stopped(tmp_path: Path) -> None:
    """Scale and count of good steps too: with the count lost, the scale would double later."""
    epochs = "schedule.epochs=4"
    calm = fresh(tmp_path / "calm", epochs, dropout=0.2)
    scaled(calm, 1024.0, interval=3)
    taken: list[Taken] = []
    scales = []
    for step in calm.steps:
        if step.number == 5:
            at = Progress(step=4, epoch=step.epoch, ends_epoch=False, tokens=0)
            checkpoint.write(calm, tmp_path / "saved", at)
        taken.append(take(calm, step))
        scales.append(calm.precision.scale)
    assert scales == [1024.0] * 2 + [2048.0] * 3 + [4096.0] * 3
    resumed = fresh(tmp_path / "resumed", epochs, dropout=0.2)
    torch.manual_seed(random.Random(0).randrange(1000))
    checkpoint.restore(resumed, Checkpoint(tmp_path / "saved", at))
    again = []
    for step, scale in zip(resumed.steps[4:], scales[4:], strict=True):
        again.append(take(resumed, step))
        assert resumed.precision.scale == scale
    assert again == taken[4:]
    assert same(learned(resumed), learned(calm))
    assert same(_states(resumed), _states(calm))


# --- what is computed in what ---


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", list(Dtype))
def test_products_are_in_the_bases_format_and_gradients_of_the_adapter_in_fp32(
    dtype: Dtype, tmp_path: Path, *, fused: bool
) -> None:
    model = by_hand.with_lora(by_hand.random_model(dtype=dtype))
    asked = settings(f"model.dtype={dtype.name}", f"memory.fused={fused}")
    run = by_hand.training(model, by_hand.talks(1, 2), tmp_path, asked)
    made = {}
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    parts = {"base": layer.base_layer, "whole": layer}
    if not fused:
        parts["A"] = layer.lora_A["default"]
    for name, part in parts.items():
        part.register_forward_hook(
            lambda _module, _given, out, name=name: made.update({name: out.dtype})
        )
    with run.precision.computing():
        found = loss.token_losses(model, collate([[run.data.train[0]]], 0, "cpu"))
    run.precision.backward(found.losses_n.sum())
    expected = getattr(torch, dtype.value)
    assert made == dict.fromkeys(parts, expected)
    assert found.losses_n.dtype is torch.float32
    assert all(p.dtype is torch.float32 for p in run.trained)
    assert all(p.grad.dtype is torch.float32 for p in run.trained)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert {p.dtype for p in frozen} == {expected}
    assert all(p.grad is None for p in frozen)


@pytest.mark.parametrize(("dtype", "bound"), [(Dtype.bf16, 0.05), (Dtype.fp16, 0.005)])
def test_gradients_are_those_of_fp32_but_for_rounding(
    dtype: Dtype, bound: float, tmp_path: Path
) -> None:
    """And at their true size, whatever the scale was."""
    gradients = []
    for one in (Dtype.fp32, dtype):
        base = by_hand.random_model(dtype=Dtype.fp32)
        model = by_hand.with_lora(base.to(getattr(torch, one.value)))
        config = settings(f"model.dtype={one.name}", "optim.clip=null")
        run = by_hand.training(model, by_hand.talks(1, ROWS), tmp_path / one.name, config)
        caught: list[Any] = []
        # Its state is not made yet, so the hook sees the gradients of the first step alone.
        run.optimizer.register_step_pre_hook(
            lambda *_, run=run, caught=caught: caught.append(
                torch.cat([p.grad.flatten().clone() for p in run.trained])
            )
        )
        take(run, run.steps[0])
        gradients.append(caught[0])
    difference = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert float(difference) < bound


def test_a_process_without_a_pass_of_its_own_can_still_unscale(tmp_path: Path) -> None:
    run = fresh(tmp_path)
    for parameter in run.trained:
        parameter.grad = torch.full_like(parameter, 65536.0)
    run.precision.unscale(run.optimizer)
    assert all(bool((p.grad == 1.0).all()) for p in run.trained)
    run.precision.step(run.optimizer)
