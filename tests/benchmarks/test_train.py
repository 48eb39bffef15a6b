"""The training benchmark: its rows, its arithmetic, that all train the same, what it says."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    # Under another name: `train` is the door.
    spec = importlib.util.spec_from_file_location("train_benchmark", BENCHMARKS / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Any:
    from understudy.config.model import ModelConfig
    from understudy.models.tokenizer import load_encoder

    return load_encoder(ModelConfig(name="tiny", base=str(tiny_model), dialect="smollm2"))


@pytest.fixture(scope="module")
def overrides(tiny_model: Path, script: ModuleType) -> tuple[str, ...]:
    return (*script.model_of(str(tiny_model)), *script.LORA)


# --- rows ---


def test_short_chats_spread_from_40_to_500_tokens_and_end_with_their_end_token(
    encoder: Any,
) -> None:
    from training import rows

    found = rows.short_chats(encoder, 12)
    lengths = sorted(len(row.ids) for row in found)
    assert lengths[0] >= 40
    assert lengths[-1] <= 500
    # One in each twelfth of the range, give or take the words that no longer fit.
    for place, length in enumerate(lengths):
        assert place * 460 / 12 <= length <= 40 + (place + 1) * 460 / 12
    end = encoder.end_ids()[-1]
    assert all(end in row.ids[-2:] for row in found)
    assert all(row.supervised > len(row.ids) / 4 for row in found)
    assert rows.short_chats(encoder, 12) == found
    assert rows.short_chats(encoder, 12, seed=1) != found


def test_full_rows_are_full(encoder: Any, tmp_path: Path) -> None:
    from training import rows

    found = rows.full_rows(encoder, 3, 256)
    assert [len(row.ids) for row in found] == [256] * 3
    assert [len(row.labels) for row in found] == [256] * 3
    rows.write(tmp_path / "rows.json", found)
    assert rows.read(tmp_path / "rows.json") == found


# --- arithmetic ---


def test_operations_are_those_that_torch_counts() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from training import meter, rows
    from transformers import LlamaConfig, LlamaForCausalLM

    from understudy.config.adapter import AdapterConfig
    from understudy.models import learned

    shape = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=12,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",
    )
    base = LlamaForCausalLM(shape)
    base.requires_grad_(requires_grad=False)
    model = learned.attach(base, AdapterConfig(r=8))
    (row,) = rows.random_rows(512, 1, 96)
    ids = torch.tensor([row.ids])
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    # Plain attention multiplies what lies in the future, too.
    future = 6 * 12 * 64 * 96**2
    counted = counter.get_total_flops() - future
    # The first block has nothing below it that needs a gradient.
    assert meter.operations(model, [row]) == pytest.approx(counted, rel=0.05)
    assert meter.operations(model, [row]) > counted


# --- everybody trains the same ---


@pytest.fixture(scope="module")
def setting(
    encoder: Any, overrides: Sequence[str], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    from training import rows
    from training.party import Setting

    path = tmp_path_factory.mktemp("rows") / "rows.json"
    rows.write(path, [row for row in rows.short_chats(encoder, 24) if len(row.ids) < 200][:4])
    return Setting(overrides=tuple(overrides), rows=str(path), rows_per_step=2, epochs=2, judged=2)


@pytest.fixture(scope="module")
def ours(setting: Any) -> dict[str, Any]:
    """In a process of its own, as the benchmark runs it."""
    from training.comparison import OURS
    from training.party import alone

    return alone(setting, OURS)


def test_a_run_of_ours_is_measured(ours: dict[str, Any]) -> None:
    assert "failed" not in ours, ours
    assert len(ours["losses"]) == 4
    # The second epoch sees the same rows again.
    assert ours["losses"][2] < ours["losses"][0]
    assert ours["peak_bytes"] > ours["held_bytes"] > 2**20
    assert ours["tokens_per_second"] > 0
    assert 0 < ours["product_use"] < 1


@pytest.mark.parametrize(
    "name",
    [
        "TRL",
        "GROUPED",
        pytest.param("TRL_BEST", marks=pytest.mark.slow),
        pytest.param("TRAINER", marks=pytest.mark.slow),
    ],
)
def test_peers_come_to_our_losses(setting: Any, ours: dict[str, Any], name: str) -> None:
    import torch
    from training import comparison, party

    peer = getattr(comparison, name)
    deterministic = torch.are_deterministic_algorithms_enabled()
    found = party.run(setting, peer)
    torch.use_deterministic_algorithms(deterministic)
    made = comparison.agreement(ours, found, alone=peer.grouped)
    assert made["agree"], (made, ours["losses"], found["losses"])
    # To a model without sense all rows are alike: the bound of the real one would let any order by.
    assert peer.grouped or made["apart"] < 1e-3, (ours["losses"], found["losses"])
    assert found["tokens"] == ours["tokens"]
    assert len(found["losses"]) == 4


def test_agreement_is_refused_where_the_other_trains_on_other_labels() -> None:
    from training.comparison import BOUND, GROUPED_BOUND, agreement

    mine = {"losses": [3.0, 2.0], "loss_after": 1.9}
    near = {"losses": [3.0, 2.0 + BOUND / 2], "loss_after": 1.9}
    far = {"losses": [3.0, 2.0 + BOUND * 2], "loss_after": 1.9}
    late = {"losses": [3.0, 2.0], "loss_after": 1.9 + 2 * BOUND}
    assert agreement(mine, near, alone=False)["agree"]
    assert not agreement(mine, far, alone=False)["agree"]
    assert not agreement(mine, late, alone=False)["agree"]
    assert agreement(mine, far, alone=True)["agree"]
    lost = {**mine, "loss_after": 1.9 + 2 * GROUPED_BOUND}
    assert not agreement(mine, lost, alone=True)["agree"]


# --- what it says ---


def figures(rate: float, **more: Any) -> dict[str, Any]:
    keys = ("seconds", "cpu_seconds", "first_step_seconds", "product_rate", "product_use")
    return {
        **dict.fromkeys(keys, 1.0),
        "tokens_per_second": rate,
        "peak_bytes": 100,
        "held_bytes": 50,
        "threads": 2,
        "losses": [2.0],
        "loss_after": 1.0,
        **more,
    }


def played(script: ModuleType, monkeypatch: pytest.MonkeyPatch, rates: dict[str, Any]) -> Any:
    """A case of which the parties' runs are given; returns it and the order they came in."""
    from training import comparison

    order: list[str] = []

    def run(_setting: Any, party: Any, _limit: float | None) -> dict[str, Any]:
        order.append(party.name)
        given = rates[party.name]
        return given if isinstance(given, dict) else figures(given)

    monkeypatch.setattr(comparison, "alone", run)
    peers = (comparison.TRL, comparison.TRAINER, comparison.TRL_BEST)
    case = comparison.Case(
        name="made up",
        setting=comparison.Setting(overrides=("a=b",), rows="", rows_per_step=1),
        peers=peers,
        conditions="none",
    )
    return script.worst([comparison.compare(case, comparison.OURS, 2)]), order


def test_the_ratio_is_that_to_the_fastest_peer_beside_which_ours_ran(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.comparison import OURS, TRAINER, TRL, TRL_BEST

    rates = {OURS.name: 300.0, TRL.name: 100.0, TRAINER.name: 200.0, TRL_BEST.name: 150.0}
    result, order = played(script, monkeypatch, rates)
    assert (result["ratio"], result["peer_name"], result["agree"]) == (1.5, TRAINER.name, True)
    (case,) = result["cases"]
    assert case["over_trl_defaults"] == 3.0
    assert {"name", "unit", "ours", "peer", "peer_name", "ratio", "conditions"} <= case.keys()
    # Every peer stands beside a run of ours, and the second round goes the other way.
    one, two, three, mine = TRL.name, TRAINER.name, TRL_BEST.name, OURS.name
    assert order == [one, mine, two, three, mine, three, mine, two, one, mine]
    json.dumps(result)


def test_a_peer_that_fails_stays_in_the_table_and_other_losses_are_no_agreement(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.comparison import OURS, TRAINER, TRL, TRL_BEST

    rates: dict[str, Any] = {OURS.name: 300.0, TRL.name: {"failed": "out of memory"}}
    rates |= {TRAINER.name: figures(200.0, losses=[2.5]), TRL_BEST.name: 150.0}
    result, _ = played(script, monkeypatch, rates)
    (case,) = result["cases"]
    assert {"name": TRL.name, "failed": "out of memory"} in case["parties"]
    assert not result["agree"]
    assert case["over_trl_defaults"] is None


def test_what_fails_in_a_process_of_its_own_is_told(setting: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    from training.comparison import OURS
    from training.party import alone

    found = alone(replace(setting, rows=str(tmp_path / "none.json")), OURS)
    assert "none.json" in found["failed"]


# --- the profile ---


def test_the_profile_gives_every_second_to_a_part(overrides: Sequence[str], encoder: Any) -> None:
    from training import comparison, rows, step_profile

    examples = rows.full_rows(encoder, 3, 128)
    case = step_profile.one_case("tiny", overrides, comparison.OURS, examples, 1)
    sums = {part: sum(kinds.values()) for part, kinds in case["parts"].items()}
    assert sum(sums.values()) == pytest.approx(case["profiled"], rel=0.02)
    assert case["parts"]["base"]["products"] > 0
    # Two products forward and four backward, in fp32 weights: nobody else has so many.
    assert case["parts"]["lora"]["products"] > 0
    assert sums["other"] < 0.1 * case["profiled"]
    assert all(sums[part] > 0 for part in ("norm", "rotary", "attention", "head", "loss", "data"))
    text = step_profile.table([case])
    assert "| LoRA, and the base backwards |" in text


def test_the_profile_leaves_the_page_around_it_alone(tmp_path: Path) -> None:
    from training import step_profile

    page = tmp_path / "page.md"
    page.write_text(f"before\n{step_profile.OPEN}\nold\n{step_profile.CLOSE}\nafter\n")
    step_profile.put(page, "new")
    assert page.read_text() == (
        f"before\n{step_profile.OPEN}\n\nnew\n\n{step_profile.CLOSE}\nafter\n"
    )


# --- growth ---


def test_growth_follows_the_rows_through_the_data_path(tmp_path: Path) -> None:
    from training import growth

    growth.write_set(tmp_path / "set", 40)
    found = growth.data_path(tmp_path / "set")
    assert found["rows"] == 40
    assert found["tokens"] > 40 * 40
    assert found["seconds_a_step"] > 0
    assert len((tmp_path / "set" / "plan.jsonl").read_text().splitlines()) == 5
