"""`benchmarks/train.py --gpu` without a GPU: tiny shapes, the peers, the search for a length."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

TINY = {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


@pytest.mark.parametrize("limit", [100, 4096, 5000, 78_475, 131_072, 200_000])
def test_the_longest_row_is_found(limit: int) -> None:
    from training import gpu

    tried: list[int] = []

    def fits(length: int) -> bool:
        tried.append(length)
        return length <= limit

    found, ended = gpu.search(fits, 4096, 131_072, 1024, 60)
    assert found <= limit
    if limit >= 131_072:
        assert (found, ended) == (131_072, "most")
    else:
        assert ended == "found"
        assert limit - found <= 1024
    assert len(tried) < 24
    assert gpu.search(fits, 4096, 131_072, 1024, 0.0) == (0, "time")


def test_a_row_for_which_there_is_no_time_is_not_begun() -> None:
    from training import gpu

    tried: list[int] = []

    def fits(length: int) -> bool:
        tried.append(length)
        time.sleep(0.1 * (length / 4096) ** 2)
        return True

    # 0.1 s, then 0.23 s; the next would take 0.5 s.
    assert gpu.search(fits, 4096, 131_072, 1024, 0.7) == (6144, "time")
    assert tried == [4096, 6144]


def test_gpu_parts_train_a_tiny_shape_in_4_bits(tmp_path: Path) -> None:
    import torch
    from training import gpu, meter, party
    from training.comparison import OURS

    shape = gpu.Shape(name="tiny", kind="Mistral", sizes=TINY, r=4, alpha=8)
    folder = tmp_path / "weights"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "elsewhere", lambda work: gpu.quantise(*map(Path, work["quantise"])))
        patch.setattr(gpu, "STEP_TOKENS", 128)
        gpu.make_weights(shape, folder)
        case = gpu.case_of(shape, folder, 64, tmp_path)
    assert not folder.with_name("weights-raw").exists()
    assert json.loads((folder / "config.json").read_text())["sliding_window"] is None
    assert case.setting.rows_per_step == 2
    deterministic = torch.are_deterministic_algorithms_enabled()
    mine, theirs = (party.run(case.setting, one) for one in (OURS, case.peers[0]))
    longest = gpu.try_lengths(shape, folder, gpu.LEANEST, 128, 60)
    torch.use_deterministic_algorithms(deterministic)
    assert theirs["losses"] == pytest.approx(mine["losses"], abs=0.02)
    assert (longest["tokens"], longest["search_ended"]) == (128, "most")
    assert not meter.on_gpu()


def test_gpu_parts_are_named_and_need_a_gpu(tmp_path: Path) -> None:
    from training import comparison, gpu, meter

    with pytest.raises(SystemExit, match="choose one of weights, 512"):
        gpu.measure("1000", comparison.OURS, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter, "on_gpu", lambda: False)
        with pytest.raises(SystemExit, match="no CUDA device"):
            gpu.measure("512", comparison.OURS, tmp_path)


def test_weights_that_could_not_be_made_are_not_taken_for_done(tmp_path: Path) -> None:
    from training import gpu

    shape = gpu.Shape(name="tiny", kind="Llama", sizes=TINY, r=4, alpha=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "elsewhere", lambda _work: {"failed": "out of memory"})
        with pytest.raises(SystemExit, match="weights could not be made: out of memory"):
            gpu.make_weights(shape, tmp_path / "weights")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("length", "rows", "best"), [(512, 32, 4), (2048, 8, 1), (16_384, 2, 1)])
def test_peers_take_whole_batches_and_what_is_installed(length: int, rows: int, best: int) -> None:
    from training import gpu

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "find_spec", lambda _name: None)
        plain = gpu.peers(length, rows)
        patch.setattr(gpu, "find_spec", lambda _name: True)
        more = gpu.peers(length, rows)
    assert [party.checkpointing for party in plain] == [True, False, True]
    assert [party.batch for party in plain] == [min(8, rows), best, best]
    assert [party.kind for party in more] == ["trl", "trl", "trl", "unsloth"]
    assert all(rows % party.batch == 0 for party in more)
    assert "liger" in more[1].options
    assert not more[0].options
