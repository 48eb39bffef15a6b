"""NEFTune: noise on the embeddings, while training only, as large as a row's own length says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch

from understudy.config.model import Dtype
from understudy.train import isolation, loss
from understudy.train.batch import Batch, collate
from understudy.train.evaluate import Evaluation, evaluate
from understudy.train.layout import Line
from understudy.train.precision import Precision
from understudy.train.step import take

ALPHA = 5.0
WIDTH = by_hand.SIZES["hidden_size"]
ROWS = by_hand.talks(4, 4)
LAYOUTS: dict[str, list[Line]] = {
    "one by one": [ROWS[:1]],
    "padded": [[row] for row in ROWS],
    "packed": [ROWS],
    "packed and padded": [ROWS[:3], ROWS[3:]],
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with by_hand.one_thread():
        yield


def embedded(model: Any, batch: Batch, alpha: float | None) -> torch.Tensor:
    """What the decoder is given for its embeddings, [b, t, h]."""
    caught: list[torch.Tensor] = []
    hook = model.model.register_forward_pre_hook(
        lambda _module, _given, more: caught.append(more["inputs_embeds"].detach()),
        with_kwargs=True,
    )
    loss.token_losses(model, batch, neftune_alpha=alpha)
    hook.remove()
    return caught[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_noise_is_bounded_by_the_rows_own_length(layout: str) -> None:
    """alpha / sqrt(L x d) (arXiv:2310.05914, section 2), and not far below it."""
    lines = LAYOUTS[layout]
    model = by_hand.random_model()
    batch = collate(lines, 2, "cpu")
    torch.manual_seed(0)
    noise = embedded(model, batch, ALPHA) - embedded(model, batch, None)
    for line, noise_th in zip(lines, noise, strict=True):
        place = 0
        for row in line:
            length = len(row.ids)
            bound = ALPHA / math.sqrt(length * WIDTH)
            one = noise_th[place : place + length]
            assert 0.9 * bound < float(one.abs().max()) <= bound * (1 + 1e-5)
            # Uniform, so its deviation is bound / sqrt(3), around 0.
            assert float(one.std()) == pytest.approx(bound / math.sqrt(3), rel=0.2)
            assert abs(float(one.mean())) < 0.3 * bound
            place += length


def test_the_same_generator_draws_the_same_noise() -> None:
    model = by_hand.random_model()
    batch = collate(LAYOUTS["packed"], 2, "cpu")
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(embedded(model, batch, ALPHA))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert by_hand.config().optim.neftune_alpha is None
    run = by_hand.training(by_hand.random_model(), ROWS, tmp_path)
    before = torch.get_rng_state()
    take(run, run.steps[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_has_it_and_draws_it_once_whatever_is_computed_again(tmp_path: Path) -> None:
    """Under checkpointing, packed or not, a step is the same each time from the same generator."""
    found = {}
    for packing in (False, True):
        for again in (False, True, True):
            model = by_hand.with_lora(by_hand.random_model(attention="sdpa"), zero=True)
            config = by_hand.config(
                f"optim.neftune_alpha={ALPHA}",
                "memory.micro_batch=2",
                f"memory.packing={packing}",
                f"memory.checkpointing={again}",
            )
            run = by_hand.training(model, ROWS, tmp_path / f"{packing}", config)
            torch.manual_seed(3)
            taken = take(run, run.steps[0])
            state = torch.get_rng_state()
            first = found.setdefault(packing, (taken, state))
            assert torch.equal(first[1], state)
            assert taken.sums.loss == pytest.approx(first[0].sums.loss, rel=1e-6)
            assert taken.grad_norm == pytest.approx(first[0].grad_norm, rel=1e-5)
    model = by_hand.with_lora(by_hand.random_model(attention="sdpa"), zero=True)
    plain = take(by_hand.training(model, ROWS, tmp_path / "plain"), run.steps[0])
    assert all(taken.sums.loss != plain.sums.loss for taken, _ in found.values())


def test_measuring_and_comparing_have_none(tmp_path: Path) -> None:
    """Held-out loss, the check of isolation and that of the head, in a run that trains with it."""
    model = by_hand.random_model(attention="sdpa")
    config = by_hand.config(f"optim.neftune_alpha={ALPHA}", "memory.packing=true")
    run = by_hand.training(model, ROWS, tmp_path, config)
    how = Evaluation(micro_batch=2, pad_id=2, precision=Precision(Dtype.fp32, "cpu"))
    before = torch.get_rng_state()
    scores = [evaluate(model, ROWS, how, "test").total for _ in range(2)]
    isolation.check(run)
    loss.check_head(run)
    assert scores[0] == scores[1]
    assert torch.equal(torch.get_rng_state(), before)
    alone = [loss.token_losses(model, collate([[row]], 2, "cpu")).losses_n for row in ROWS]
    plain = float(torch.cat(alone).detach().sum())
    assert scores[0].loss == pytest.approx(plain, rel=1e-6)
