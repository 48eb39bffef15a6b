"""A step's loss and gradient norm do not depend on how its rows are laid into memory.

The reference takes nothing from our path: transformers' own forward pass in fp64, a row at a time,
with an attention mask, and the loss summed over labelled tokens by hand.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch

from understudy.chat.encoder import IGNORED
from understudy.kernels.attention import register
from understudy.train.data import Example
from understudy.train.layout import lay_out
from understudy.train.step import accumulate, clip, take
from understudy.train.training import Training

WINDOWS = 50
FEWER_WINDOWS = 20
ALL_ROWS = 4096
LAYOUTS = list(product((1, 2, 4, ALL_ROWS), (False, True)))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with by_hand.one_thread():
        yield


def window(seed: int) -> list[Example]:
    """The rows of one step: few or many, short and long, with unequal counts of labels."""
    chance = random.Random(seed)
    return by_hand.talks(seed, chance.randint(2, 7), longest=chance.choice((3, 14)))


def reference(model: Any, rows: Sequence[Example]) -> tuple[float, float]:
    """Mean loss and gradient norm in fp64; the model is fp64 and keeps no gradients."""
    count = sum(label != IGNORED for row in rows for label in row.labels[1:])
    total = 0.0
    for row in rows:
        ids, labels = torch.tensor([row.ids]), torch.tensor(row.labels[1:])
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1]
        learned = labels != IGNORED
        likelihood = torch.log_softmax(logits, dim=-1)[learned, labels[learned]]
        loss = -likelihood.sum() / count
        loss.backward()
        total += float(loss.detach())
    squares = sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None)
    model.zero_grad(set_to_none=True)
    return total, squares**0.5


def own_path(model: Any) -> Any:
    """A copy in fp64 with nothing of ours in it: plain attention, peft's LoRA layers."""
    exact = copy.deepcopy(model).double().eval()
    exact.config._attn_implementation = "eager"
    for layer in exact.modules():
        layer.__dict__.pop("forward", None)
    return exact


def measured(run: Training, rows: Sequence[Example]) -> tuple[float, float]:
    """Mean loss and gradient norm by the path that training takes; no step is taken."""
    passes = lay_out(rows, run.memory, run.config.model.context)
    assert sum(len(line) for lines in passes for line in lines) == len(rows)
    sums = accumulate(run, passes, sum(row.supervised for row in rows))
    norm = clip(run)
    run.optimizer.zero_grad(set_to_none=True)
    return sums.mean_loss, norm


def compare(run: Training, windows: int) -> None:
    exact = own_path(run.model)
    for seed in range(windows):
        rows = window(seed)
        expected = reference(exact, rows)
        # Checkpointing goes with every other layout, and with the others in the next window.
        for place, (micro_batch, packing) in enumerate(LAYOUTS):
            again = bool((seed + place) % 2)
            laid_out = by_hand.laid_out(
                run, micro_batch=micro_batch, packing=packing, checkpointed_blocks=2 * again
            )
            found = measured(laid_out, rows)
            assert found == pytest.approx(expected, rel=1e-5), (seed, micro_batch, packing, again)


@pytest.mark.parametrize("attention", ["sdpa", "rows"])
def test_whole_model(attention: str, tmp_path: Path) -> None:
    register()
    model = by_hand.random_model(attention=attention)
    run = by_hand.training(model, by_hand.talks(0, 4), tmp_path)
    compare(run, WINDOWS)


@pytest.mark.parametrize("attention", ["eager", "rows"])
def test_lora(attention: str, tmp_path: Path) -> None:
    register()
    model = by_hand.with_lora(by_hand.random_model(attention=attention))
    run = by_hand.training(model, by_hand.talks(0, 4), tmp_path)
    compare(run, FEWER_WINDOWS)


def test_a_step_reports_what_the_reference_finds(tmp_path: Path) -> None:
    rows = window(3)
    model = by_hand.with_lora(by_hand.random_model())
    settings = by_hand.config(f"optim.rows_per_step={len(rows)}", "memory.packing=true")
    run = by_hand.training(model, rows, tmp_path, settings)
    expected = reference(own_path(model), rows)
    taken = take(run, run.steps[0])
    assert (taken.sums.mean_loss, taken.grad_norm) == pytest.approx(expected, rel=1e-5)
    assert taken.sums.tokens == sum(row.supervised for row in rows)


def test_checkpointing_really_computes_again(tmp_path: Path) -> None:
    model = by_hand.with_lora(by_hand.random_model())
    run = by_hand.training(model, by_hand.talks(0, 4), tmp_path)
    calls: list[int] = []
    layer = model.get_base_model().model.layers[0].mlp
    layer.register_forward_pre_hook(lambda *_: calls.append(1))
    for blocks, expected in ((0, 1), (1, 2), (0, 1)):
        calls.clear()
        measured(by_hand.laid_out(run, micro_batch=ALL_ROWS, checkpointed_blocks=blocks), window(0))
        assert len(calls) == expected
