"""Memory: a measured trial finds the fastest plan that fits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
from blocks import BLOCKS, ROWS, same, tiny

from understudy.config.memory import MemoryConfig
from understudy.console import UserError
from understudy.train import choice, isolation, longest, meter, optimizer, recompute, rng, trial
from understudy.train.memory import MemoryPlan, agrees, plainest
from understudy.train.training import Training

MIB = 2**20
PROGRAM = Path(__file__).parents[1] / "support" / "high_water.py"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with by_hand.one_thread():
        yield


# --- what config fixes ---


def test_settings_that_exclude_each_other_are_told() -> None:
    with pytest.raises(ValueError, match=r"set memory.checkpointing=true as well"):
        MemoryConfig(checkpointed_blocks=3)
    with pytest.raises(ValueError, match=r"recomputes none: set memory.checkpointing=true, or"):
        MemoryConfig(offload=True, checkpointing=False)
    with pytest.raises(ValueError, match=r"memory.mlp_tile=0 is out of range"):
        MemoryConfig(mlp_tile=0)


@pytest.mark.parametrize(
    ("group", "plan"),
    [
        ("plain", MemoryPlan()),
        ("packed", MemoryPlan(packing=True)),
        ("small_card", MemoryPlan(checkpointed_blocks=BLOCKS)),
    ],
)
def test_groups_fix_everything_but_auto(
    group: str, plan: MemoryPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny(tmp_path, f"memory={group}")
    assert run.config.memory.fixed
    assert run.memory == plan
    found = choice.settle(rehearsed(run))
    assert found.memory == plan
    assert "trial" not in capsys.readouterr().err
    written = json.loads((tmp_path / "memory.json").read_text())
    assert MemoryPlan(**written["plan"]) == plan
    assert written["tried"] == []
    assert not by_hand.config("memory=auto").memory.fixed
    assert agrees(plan, run.config.memory, BLOCKS)
    assert agrees(plan, MemoryConfig(), BLOCKS)
    other = replace(run.config.memory, micro_batch=2)
    assert not agrees(plan, other, BLOCKS)
    assert plainest(other, BLOCKS).micro_batch == 2


# --- the trial ---


def rehearsed(run: Training) -> Training:
    """The run as the checks before step 1 hand it to a trial."""
    found = replace(run, optimizer=optimizer.build(run.model, run.config))
    longest.make_state(found)
    return found


REST = 1000 * MIB


@dataclass
class Machine:
    """A stand-in for a machine: its clock and its memory go by what is computed, to the bit.

    Real clocks and high-water marks are too coarse for choices on a tiny model.
    """

    pass_seconds: float = 0.05
    token_seconds: float = 0.001
    block_bytes: int = 2 * MIB
    """Of a token in a block that is kept."""
    now: float = 0.0
    most: int = REST
    runs_out_at: int | None = None

    def compute(self, model: Any, tokens: int) -> None:
        blocks = recompute.blocks(model)
        again = sum(block.gradient_checkpointing for block in blocks)
        self.now += self.pass_seconds + self.token_seconds * tokens * (3 + again / len(blocks))
        kept = len(blocks) - again
        taken = REST + tokens * MIB + kept * tokens * self.block_bytes
        self.most = max(self.most, taken)
        if self.runs_out_at is not None and taken > self.runs_out_at:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    def forget(self) -> None:
        self.most = REST


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    forward_backward = trial.forward_backward

    def computed(run: Training, lines: Any, supervised: int) -> Any:
        found.compute(run.model, len(lines) * max(sum(len(r.ids) for r in li) for li in lines))
        return forward_backward(run, lines, supervised)

    monkeypatch.setattr(trial, "forward_backward", computed)
    monkeypatch.setattr(trial.time, "monotonic", lambda: found.now)
    monkeypatch.setattr(meter, "forget", found.forget)
    monkeypatch.setattr(meter, "held", lambda: REST)
    monkeypatch.setattr(meter, "peak", lambda: found.most)
    return found


def chosen(run: Training, room: int) -> tuple[MemoryPlan, list[trial.Tried]]:
    found = trial.Trial(rehearsed(run), room)
    return found.choose(), found.tried


def plan_for(run: Training, room: int) -> MemoryPlan:
    return chosen(run, room)[0]


LONGEST = max(len(row.ids) for row in ROWS)


def need(kept: int, lines: int = 1) -> int:
    """What the machine takes for the longest row with so many blocks kept."""
    return REST + lines * LONGEST * MIB * (1 + 2 * kept)


@pytest.mark.parametrize("oom", [False, True])
@pytest.mark.parametrize("kept", range(BLOCKS + 1))
def test_as_few_blocks_are_recomputed_as_fit(
    kept: int, tmp_path: Path, machine: Machine, *, oom: bool
) -> None:
    """Whether too much is measured, or breaks off for want of memory."""
    run = tiny(tmp_path, "memory=auto", "memory.micro_batch=1", "memory.packing=false")
    room = need(kept) + MIB
    machine.runs_out_at = room if oom else None
    assert plan_for(run, room) == MemoryPlan(checkpointed_blocks=BLOCKS - kept)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("room", [40, 41, 43, 50, 77, 120, 200])
def test_of_many_blocks_too_and_with_few_measurements(room: int, tmp_path: Path) -> None:
    base = by_hand.random_model(num_hidden_layers=32)
    settings = by_hand.config("memory=auto", "memory.micro_batch=1", "memory.packing=false")
    run = by_hand.training(by_hand.with_lora(base), ROWS, tmp_path, settings)
    # 1 for what is not in the blocks and 2 for each of them, a token and MiB: 32 take 65.
    plan, tried = chosen(run, REST + room * LONGEST * MIB)
    kept = min(32, (room - 1) // 2)
    assert plan == MemoryPlan(checkpointed_blocks=32 - kept)
    assert len(tried) <= 3


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No end to trying."""
    monkeypatch.setattr(trial, "MOST_SECONDS", 1e9)
    monkeypatch.setattr(trial, "LEAST_SECONDS", 1e9)


@pytest.mark.usefixtures("patient")
def test_lines_are_added_and_packed_while_that_gains_and_fits(
    tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny(tmp_path, "memory=auto")
    plenty = need(BLOCKS, 100)
    machine.pass_seconds, machine.token_seconds = 10.0, 1e-4
    assert plan_for(run, plenty) in (MemoryPlan(packing=True, micro_batch=n) for n in (2, 3, 4))
    said = capsys.readouterr().err
    for size in ("1 line", "4 lines", "7 lines", "1 packed line"):
        assert f"trial: {size}, nothing recomputed: " in said
    # Padding costs and passes cost nothing: rows by themselves are best, and more are not tried.
    machine.pass_seconds, machine.token_seconds = 0.0, 1e-3
    assert plan_for(run, plenty).micro_batch == 1
    assert "4 lines" not in capsys.readouterr().err


@pytest.mark.usefixtures("patient")
def test_what_cannot_fit_is_not_run_at_all(tmp_path: Path, machine: Machine) -> None:
    """Going by what was measured: on a CPU running out of memory would end the process."""
    run = tiny(tmp_path, "memory=auto", "memory.packing=false")
    machine.pass_seconds = 10.0
    _, tried = chosen(run, need(0) + MIB)
    assert {one.plan.micro_batch for one in tried} == {1}
    # Two lines with everything recomputed against one with all but that kept.
    plan, tried = chosen(run, need(BLOCKS))
    timed = {one.plan.micro_batch: one.plan for one in tried if one.tokens_per_second}
    assert timed[1].checkpointed_blocks == 0
    assert timed[2].checkpointed_blocks > 0
    assert plan.micro_batch > 1


def test_the_time_for_trying_is_bounded(
    tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.pass_seconds = 30.0
    plan, tried = chosen(tiny(tmp_path, "memory=auto"), need(BLOCKS, 100))
    assert [one.plan for one in tried if one.tokens_per_second] == [plan]
    assert "the time for trying is up" in capsys.readouterr().err
    assert machine.now < 30 * 10


@pytest.mark.usefixtures("patient", "machine")
def test_packing_that_mixes_rows_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leak = isolation.Isolation(layouts=0.2, neighbours=0.2, step=1e-7)
    monkeypatch.setattr(isolation, "measure", lambda *_: leak)
    assert not plan_for(tiny(tmp_path, "memory=auto"), need(BLOCKS, 100)).packing
    assert "rows that share a line see each other" in capsys.readouterr().err


@pytest.mark.usefixtures("machine")
def test_what_fits_in_no_way_is_refused_with_what_to_lower(tmp_path: Path) -> None:
    run = tiny(tmp_path, "memory=auto", "memory.budget_gib=1")
    with pytest.raises(UserError, match=r"longest batch, 1 x \d+ tokens .* model.context") as told:
        plan_for(run, need(0) - 1)
    assert "Or allow more than memory.budget_gib=1." in str(told.value)
    assert "micro_batch" not in str(told.value)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("gpu", [False, True])
def test_where_nothing_else_fits_inputs_leave_the_gpu_and_long_rows_go_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gpu: bool
) -> None:
    """With a stand-in for a GPU, where there is one."""
    run = rehearsed(tiny(tmp_path, "memory=auto"))
    tried: list[MemoryPlan] = []

    def measured(_: trial.Trial, plan: MemoryPlan) -> trial.Tried:
        tried.append(plan)
        return trial.Tried(plan=plan, fits=plan.mlp_tile is not None, peak_bytes=REST)

    monkeypatch.setattr(trial.Trial, "_measured", measured)
    monkeypatch.setattr(trial.Trial, "_timed", lambda _, one: replace(one, tokens_per_second=1.0))
    monkeypatch.setattr(longest, "LEAST_TILED", 8)
    attempt = trial.Trial(run, need(0) - 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    least = MemoryPlan(checkpointed_blocks=BLOCKS)
    tiled = replace(least, offload=gpu, mlp_tile=8)
    assert attempt.choose() == tiled
    assert tried == [least, *([replace(least, offload=True)] if gpu else []), tiled]


def test_a_trial_leaves_no_trace(tmp_path: Path) -> None:
    run = tiny(tmp_path, "memory=auto", dropout=0.2)
    weights = [p.detach().clone() for p in run.model.parameters()]
    generators = rng.state()
    settled = choice.settle(rehearsed(run))
    assert same(weights, [p.detach() for p in run.model.parameters()])
    assert torch.equal(rng.state()["cpu"], generators["cpu"])
    assert not run.optimizer.state
    assert all(not bool(p.grad.any()) for p in run.trained)
    record = json.loads((tmp_path / "memory.json").read_text())
    assert MemoryPlan(**record["plan"]) == settled.memory
    assert record["chosen_on"]["device"].startswith("CPU, ")
    timed = [one for one in record["tried"] if one["tokens_per_second"]]
    fastest = max(timed, key=lambda one: one["tokens_per_second"])
    assert fastest["plan"] == record["plan"]
    assert all(one["peak_bytes"] <= record["room_bytes"] for one in timed)


def test_a_plan_written_down_is_taken_again_where_it_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = rehearsed(tiny(tmp_path, "memory=auto"))
    choice.settle(run)
    path = tmp_path / "memory.json"
    record = json.loads(path.read_text())
    record["plan"] = {**record["plan"], "micro_batch": 3, "checkpointed_blocks": 1}
    path.write_text(json.dumps(record))
    capsys.readouterr()

    def settled(*overrides: str) -> tuple[MemoryPlan, str]:
        path.write_text(json.dumps(record))
        config = replace(run.config, memory=by_hand.config("memory=auto", *overrides).memory)
        found = choice.settle(replace(run, config=config)).memory
        return found, capsys.readouterr().err

    plan, said = settled()
    assert (plan.micro_batch, plan.checkpointed_blocks) == (3, 1)
    assert "3 lines" in said
    assert "as memory.json says" in said
    assert [b.gradient_checkpointing for b in recompute.blocks(run.model)] == [True, False, False]
    assert settled("memory.micro_batch=3")[0].checkpointed_blocks == 1
    for override, why in (
        ("memory.micro_batch=2", "config now says otherwise"),
        ("memory.budget_gib=20", "budget_gib None, now 20"),
    ):
        plan, said = settled(override)
        assert why in said
        assert "chosen anew" in said
        assert "fastest of" in said
    monkeypatch.setattr(meter, "device", lambda: "another card")
    assert "now another card" in settled()[1]
    path.write_text("{")
    choice.settle(run)
    assert "cannot be read" in capsys.readouterr().err


# --- memory, really measured ---


def test_a_peak_is_forgotten() -> None:
    if not meter.forgets():
        pytest.skip("this system cannot measure a peak anew")
    meter.forget()
    before = meter.peak()
    large = torch.ones(300 * MIB // 4)
    assert meter.held() - before > 250 * MIB
    del large
    assert meter.peak() - before > 250 * MIB
    meter.forget()
    assert abs(meter.peak() - before) < 50 * MIB


@pytest.mark.parametrize("budget", [None, 2.0])
def test_room_is_the_budget_or_what_is_free_with_some_to_spare(budget: float | None) -> None:
    free = meter._free() + meter.held()
    found = meter.room(MemoryConfig(budget_gib=budget), 1)
    expected = 0.85 * free if budget is None else min(0.85 * free, 0.95 * 2 * meter.GIB)
    assert found == pytest.approx(expected, rel=0.05)
    assert meter.room(MemoryConfig(budget_gib=budget), 1000) < found


def test_the_high_water_mark_shows_what_recomputing_saves_and_a_budget_forces_it(
    tmp_path: Path,
) -> None:
    """No stand-in: a wide model on a CPU, measured by the kernel."""
    if not meter.forgets():
        pytest.skip("this system cannot measure a peak anew")
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path],
        # What is freed goes back to the system at once, and does not blur the next peak.
        env={
            **os.environ,
            "PYTHONPATH": str(PROGRAM.parent),
            "MALLOC_MMAP_THRESHOLD_": "65536",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    free, within = json.loads(done.stdout)
    peaks = {one["plan"]["checkpointed_blocks"]: one["peak_bytes"] for one in free["tried"]}
    assert peaks[0] - peaks[8] > 100 * MIB, peaks
    assert 0 < within["plan"]["checkpointed_blocks"] < 8
    assert within["room_bytes"] < peaks[0]
    assert "too much" in done.stderr


# --- through the door ---

SHORT = ("schedule.epochs=1", "eval.every_steps=null", "eval.speak_tokens=0")


def test_a_stopped_run_goes_on_with_the_plan_that_was_chosen(
    start: Callable[..., Any], arguments: list[str], tmp_path: Path
) -> None:
    """Its figures are those of a run that was given the plan and never stopped."""
    auto = (*arguments, "memory=auto", "optim.rows_per_step=6", "keep.resume_steps=1", *SHORT)
    process = start("train", *auto)
    runs = tmp_path / "runs" / "train"
    while process.running and not list(runs.glob("*/checkpoints/*/manifest.json")):
        time.sleep(0.002)
    process.send(signal.SIGTERM)
    stopped = process.wait(timeout=60)
    assert stopped.returncode == 75, stopped.stderr
    assert "train: trial: 1 line, nothing recomputed: " in stopped.stderr
    (run,) = runs.iterdir()
    written = (run / "memory.json").read_bytes()
    ended = start("train", *auto).wait()
    assert ended.returncode == 0, ended.stderr
    assert "as memory.json says" in ended.stderr
    assert (run / "memory.json").read_bytes() == written
    results = [(run / name).read_bytes() for name in ("metrics.jsonl", "scores.jsonl")]
    plan = json.loads(written)["plan"]
    given = (
        f"memory.micro_batch={plan['micro_batch']}",
        f"memory.packing={str(plan['packing']).lower()}",
        "memory.checkpointing=false",
    )
    assert plan["checkpointed_blocks"] == 0
    calm = start("train", *auto, *given, "fresh=true").wait()
    assert calm.returncode == 0, calm.stderr
    assert "trial" not in calm.stderr
    assert [(run / name).read_bytes() for name in ("metrics.jsonl", "scores.jsonl")] == results
