"""Recomputed blocks, inputs moved away and MLPs in tiles: the same figures, whatever the plan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
from blocks import BLOCKS, ROWS, same, tiny

from understudy.config.memory import MemoryConfig
from understudy.console import UserError
from understudy.train import recompute
from understudy.train.layout import lay_out
from understudy.train.memory import MemoryPlan, plainest
from understudy.train.step import accumulate
from understudy.train.training import Training


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with by_hand.one_thread():
        yield


def gradients(run: Training) -> tuple[float, list[torch.Tensor]]:
    """Mean loss and gradients of one step under the run's plan; no step is taken."""
    passes = lay_out(run.data.train, run.memory, run.config.model.context)
    torch.manual_seed(5)
    sums = accumulate(run, passes, sum(row.supervised for row in run.data.train))
    found = [p.grad.clone() for p in run.trained]
    run.optimizer.zero_grad(set_to_none=True)
    return sums.mean_loss, found


def test_every_plan_gives_the_same_loss_and_gradients(tmp_path: Path) -> None:
    run = tiny(tmp_path)
    loss, expected = gradients(run)
    assert any(bool(gradient.any()) for gradient in expected)
    kept = ((0, False), (1, False), (1, True), (BLOCKS, True))
    for (blocks, offload), tile, size, packing in product(kept, (None, 5), (1, 3), (False, True)):
        laid_out = by_hand.laid_out(
            run,
            checkpointed_blocks=blocks,
            offload=offload,
            mlp_tile=tile,
            micro_batch=size,
            packing=packing,
        )
        found_loss, found = gradients(laid_out)
        assert found_loss == pytest.approx(loss, rel=1e-5), laid_out.memory
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_recomputing_and_moving_away_change_no_bit_even_with_dropout(tmp_path: Path) -> None:
    run = tiny(tmp_path, "optim.neftune_alpha=5", dropout=0.3)
    plain = gradients(run)
    generator = torch.get_rng_state()
    for blocks, offload in product((1, BLOCKS), (False, True)):
        laid_out = by_hand.laid_out(run, checkpointed_blocks=blocks, offload=offload)
        loss, found = gradients(laid_out)
        assert loss == plain[0]
        assert same(found, plain[1])
        assert torch.equal(torch.get_rng_state(), generator)
    assert same(gradients(by_hand.laid_out(run, checkpointed_blocks=0, offload=False))[1], plain[1])


def test_so_many_blocks_are_recomputed_and_their_inputs_go_away_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny(tmp_path)
    calls: list[int] = []
    for number, block in enumerate(recompute.blocks(run.model)):
        block.mlp.register_forward_pre_hook(lambda *_, n=number: calls.append(n))
    moved: list[str] = []
    for name in ("away", "back"):
        whole: Any = getattr(recompute.Offload, name)

        def watched(self: Any, tensor: Any, whole: Any = whole, name: str = name) -> Any:
            found = whole(self, tensor)
            moved.extend([name] if found is not tensor else [])
            return found

        monkeypatch.setattr(recompute.Offload, name, watched)
    gradients(by_hand.laid_out(run, checkpointed_blocks=2, offload=True, micro_batch=99))
    assert calls == [0, 1, 2, 1, 0]
    assert moved == ["away", "away", "back", "back"]
    # Nothing asks for the gradient of what lies below the first trained weight.
    assert not run.model.get_input_embeddings()(torch.tensor([[1]])).requires_grad


def test_tiles_go_through_by_themselves_and_are_taken_off_again(tmp_path: Path) -> None:
    run = by_hand.laid_out(tiny(tmp_path), mlp_tile=16, micro_batch=99)
    widths: list[int] = []
    gate = recompute.blocks(run.model)[0].mlp.gate_proj
    gate.register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[1]))
    gradients(run)
    padded = len(ROWS) * max(len(row.ids) for row in ROWS)
    forward = [16] * (padded // 16) + [padded % 16] * bool(padded % 16)
    assert widths[: len(forward)] == forward
    assert sorted(widths) == sorted(2 * forward)
    widths.clear()
    gradients(by_hand.laid_out(run, mlp_tile=None))
    assert widths == [padded // len(ROWS)]


def test_what_a_model_cannot_is_refused(tmp_path: Path) -> None:
    run = tiny(tmp_path)
    with pytest.raises(UserError, match="4 blocks of this model cannot be recomputed: it has 3"):
        recompute.apply(run.model, MemoryPlan(checkpointed_blocks=4))
    with pytest.raises(UserError, match=r"set memory.checkpointing=false"):
        plainest(MemoryConfig(checkpointing=True), 0)
    experts = by_hand.random_model("Mixtral", num_local_experts=2, num_experts_per_tok=1)
    assert not recompute.can_tile(experts)
    with pytest.raises(UserError, match="MixtralDecoderLayer, cannot be tiled"):
        recompute.apply(experts, MemoryPlan(mlp_tile=8))
