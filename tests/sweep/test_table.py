"""What is made of the jobs: axes, figures, table, picture; and what jobs are given."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sweeps import made_up, until

from understudy import artifacts
from understudy.config import Config
from understudy.records import jsonl
from understudy.sweep import axis, devices, figures, picture, record, table
from understudy.sweep.job import Job, State
from understudy.sweep.process import last_message


@pytest.fixture
def config(composed: Callable[..., Config]) -> Config:
    return composed("corpus=x")


def grid(**values: str) -> list[tuple[str, ...]]:
    """`grid(optim__lr="1 2")`: every combination of overrides."""
    names = [name.replace("__", ".") for name in values]
    combinations = product(*(each.split() for each in values.values()))
    return [tuple(f"{n}={v}" for n, v in zip(names, each, strict=True)) for each in combinations]


# --- axes ---


def test_numbers_are_put_in_order_and_drawn_by_decades(tmp_path: Path, config: Config) -> None:
    jobs = grid(optim__lr="0.001 1e-05 0.0001", adapter__r="8 4", adapter__method="lora dora")
    lr, r, method = made_up(tmp_path, config, jobs).axes
    assert (lr.values, lr.numeric, lr.logarithmic) == (("1e-05", "0.0001", "0.001"), True, True)
    assert (r.values, r.numeric, r.logarithmic) == (("4", "8"), True, False)
    assert (method.values, method.numeric) == (("lora", "dora"), False)
    assert [method.position(value) for value in method.values] == [0, 1]


def test_a_key_that_is_the_same_in_all_jobs_is_not_swept(tmp_path: Path, config: Config) -> None:
    jobs = [(*job, "+experiment=demo") for job in grid(adapter__r="4 8")]
    assert [each.name for each in made_up(tmp_path, config, jobs).axes] == ["adapter.r"]


def test_a_picture_is_drawn_over_numbers_and_never_over_seeds(
    tmp_path: Path, config: Config
) -> None:
    def across(**values: str) -> str | None:
        found = axis.across(made_up(tmp_path, config, grid(**values)).axes)
        return found and found.name

    assert across(seed="1 2", adapter__method="lora dora", optim__lr="1 2") == "optim.lr"
    assert across(seed="1 2", adapter__method="lora dora") == "adapter.method"
    assert across(seed="1 2") == "seed"
    assert across(seed="1") is None


# --- figures ---


def test_figures_are_read_from_what_a_run_wrote(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"step": 0, "epoch": 0.0, "full_valid_loss": 3.0}]
    for step, loss in enumerate((2.5, math.nan, 2.25), start=1):
        lines += [
            {"step": step, "epoch": step - 0.5, "train_loss": loss + 0.5},
            {"step": step, "epoch": float(step), "full_valid_loss": loss},
        ]
    jsonl.write(tmp_path / "metrics.jsonl", lines)
    timing = [{"step": n, "seconds": 1.5, "peak_memory_bytes": n << 30} for n in (1, 2, 1)]
    jsonl.write(tmp_path / "timing.jsonl", timing)
    found = figures.read(tmp_path)
    assert (found.base, found.best, found.final, found.train_loss) == (3.0, 2.25, 2.25, 2.75)
    assert (found.seconds, found.peak_memory_bytes) == (4.5, 2 << 30)
    assert found.perplexity == pytest.approx(math.exp(2.25))
    assert found.held_out.epochs == (0.0, 1.0, 3.0)
    (tmp_path / "summary.json").write_text(json.dumps({"train_loss": 1.0}))
    assert figures.read(tmp_path).train_loss == 1.0
    assert figures.read(tmp_path / "nothing") == figures.Figures()


# --- table ---


def test_the_table_marks_the_best_and_names_runs_relative_to_itself(
    tmp_path: Path, config: Config
) -> None:
    shown = made_up(tmp_path / "runs" / "sweep" / "s", config, grid(adapter__r="8 4"))
    shown.entries[1].state, shown.entries[1].reason = State.failed, "train: no | good\nat all"
    page = table.markdown(shown, picture=True)
    assert "2 jobs of `train`: 1 done, 1 failed." in page
    assert (
        "| **1** | **8** | **done** | **2.1500** | **2.1000** | **8.58** | **1.5000** | **12.5** "
        "| **3.00** | [run-1](../../train/run-1) |"
    ) in page
    assert "| 2 | 4 | failed | 2.2500 |" in page
    assert "    train: no | good\n    at all" in page
    lines = table.comma_separated(shown).splitlines()
    assert lines[0].startswith("job,adapter.r,state,full_valid_loss,best_full_valid_loss,")
    assert "1,8,done,2.15,2.1," in lines[1]


def test_seeds_are_summed_up(tmp_path: Path, config: Config) -> None:
    shown = made_up(tmp_path, config, grid(adapter__method="lora dora", seed="1 2 3"))
    page = table.markdown(shown, picture=False)
    assert "| lora | 3 | 2.2000 | 0.1000 | 2.1000 | 2.3000 |" in page
    assert "| dora | 3 | 2.5000 | 0.1000 | 2.4000 | 2.6000 |" in page
    assert "Over seeds" not in table.markdown(
        made_up(tmp_path, config, grid(adapter__r="4 8")), picture=False
    )


def test_other_stages_list_what_they_made(tmp_path: Path, config: Config) -> None:
    import dataclasses

    shown = made_up(tmp_path, config, grid(decoding="[greedy] [beam]"))
    page = table.markdown(dataclasses.replace(shown, stage="generate"), picture=False)
    assert "| 1 | [greedy] | done | [run-1]" in page
    assert "loss" not in page


# --- picture ---


@pytest.mark.parametrize(
    "values",
    [
        {"optim__lr": "1e-5 1e-4 1e-3"},
        {"adapter__r": "4 8", "optim__lr": "1e-4 3e-4"},
        {"adapter__method": "lora dora", "seed": "1 2"},
        {"adapter__r": "4"},
        {"adapter__r": "1 2 3 4 5", "optim__lr": "1 2 3", "adapter__method": "lora dora"},
    ],
)
def test_every_kind_of_sweep_is_drawn(
    tmp_path: Path, config: Config, values: dict[str, str]
) -> None:
    drawn = picture.draw(made_up(tmp_path, config, grid(**values)))
    assert drawn is not None
    assert drawn.startswith(b"\x89PNG")
    width, height = (int.from_bytes(drawn[at : at + 4]) for at in (16, 20))
    assert width == 1080
    assert 1500 < height < 1600


def test_lines_tell_the_second_key_apart_and_colours_hold_in_both_parts(
    tmp_path: Path, config: Config
) -> None:
    shown = made_up(tmp_path, config, grid(adapter__r="4 8", optim__lr="1e-4 3e-4"))
    jobs = picture._drawn(shown, axis.across(shown.axes))
    assert [(job.value, job.group) for job in jobs] == [
        ("4", ("1e-4",)),
        ("4", ("3e-4",)),
        ("8", ("1e-4",)),
        ("8", ("3e-4",)),
    ]
    assert jobs[0].colour == jobs[2].colour != jobs[1].colour
    assert jobs[0].style != jobs[2].style
    assert [job.best for job in jobs] == [True, False, False, False]


def test_without_matplotlib_the_table_is_written_all_the_same(
    tmp_path: Path,
    composed: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = composed("corpus=x", f"root={tmp_path}")
    overrides = grid(adapter__r="4 8")
    jobs = [Job(number=n, overrides=o, arguments=o, config=config) for n, o in enumerate(overrides)]
    kept = record.Record("train", jobs)
    kept.folder.mkdir(parents=True)
    run = tmp_path / "runs" / "train" / "r"
    run.mkdir(parents=True)
    jsonl.write(run / "metrics.jsonl", [{"step": 1, "epoch": 1.0, "full_valid_loss": 2.0}])
    kept.open()
    kept.entries[0].output = run
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    kept.write(kept.entries[0])
    kept.write(kept.entries[0])
    said = capsys.readouterr().err
    assert said.count("matplotlib is not installed") == 1
    assert "understudy[compare]" in said
    assert "2.0000" in (kept.folder / "sweep.md").read_text()
    assert not (kept.folder / "sweep.png").exists()


# --- identity ---


def test_a_sweep_is_its_stage_its_experiment_and_what_is_swept(
    composed: Callable[..., Config],
) -> None:
    config = composed("corpus=x")

    def folder(*fixed: str, stage: str = "train", **values: str) -> str:
        jobs = [
            Job(number=n, overrides=(*fixed, *each), arguments=(), config=config)
            for n, each in enumerate(grid(**values), start=1)
        ]
        return record.locate(stage, jobs)[1].name

    plain = folder("+experiment=demo", "corpus=x", adapter__r="4 8")
    assert plain.startswith("x-train-")
    same = folder("corpus=x", "+experiment=demo", "fresh=true", "root=/y", adapter__r="4 8")
    assert plain == same
    others = {
        folder("corpus=x", adapter__r="4 8"),
        folder("+experiment=demo", "corpus=y", adapter__r="4 8"),
        folder("+experiment=demo", "corpus=x", adapter__r="4 16"),
        folder("+experiment=demo", "corpus=x", optim__lr="4 8"),
        folder("+experiment=demo", "corpus=x", adapter__r="4 8", stage="generate"),
    }
    assert len(others | {plain}) == 6


# --- devices, reasons, waiting ---


def test_gpus_are_listed_by_their_names_and_parts_instead_of_what_they_are_part_of() -> None:
    whole = "GPU 0: NVIDIA H200 (UUID: GPU-a)\nGPU 1: NVIDIA H200 (UUID: GPU-b)\n"
    assert devices.listed(whole) == ["GPU-a", "GPU-b"]
    cut = (
        "GPU 0: NVIDIA H200 (UUID: GPU-a)\n"
        "  MIG 1g.18gb     Device  0: (UUID: MIG-1)\n"
        "  MIG 1g.18gb     Device  1: (UUID: MIG-2)\n"
        "GPU 1: NVIDIA H200 (UUID: GPU-b)\n"
    )
    assert devices.listed(cut) == ["MIG-1", "MIG-2", "GPU-b"]
    assert devices.listed("NVIDIA-SMI has failed because it could not ...\n") == []


@pytest.mark.parametrize(
    ("value", "stage", "expected"),
    [
        ("0,1", "train", ["0", "1"]),
        ("0,1", "prepare", [None]),
        ("3", "train", [None]),
        ("", "train", [None]),
        ("-1", "train", [None]),
        ("2, 0 ,-1,1", "generate", ["2", "0"]),
    ],
)
def test_the_gpus_that_a_person_chose_are_taken(
    monkeypatch: pytest.MonkeyPatch, value: str, stage: str, expected: list[str | None]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert devices.devices(stage) == expected


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        ("train  1/2 steps\ntrain: loss is nan", 1),
        ("prepare: first\nprepare: no:\n  a\n  b\ntrain: see its message above.", 4),
        ("Trace\nKeyError: 'x'\ntrain: failed; this is a fault in understudy.", 2),
        ("Warning: old\nSegmentation fault", 1),
        ("", 0),
    ],
)
def test_a_failed_jobs_reason_is_its_last_message(log: str, lines: int) -> None:
    whole = log.splitlines()
    assert last_message(whole) == "\n".join(whole[len(whole) - lines :])


def test_a_second_process_that_may_wait_says_so_and_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []

    def second() -> None:
        with artifacts.exclusive(tmp_path, wait=True):
            order.append("second")

    with artifacts.exclusive(tmp_path):
        thread = Thread(target=second)
        thread.start()
        until(lambda: "waiting for another process" in capsys.readouterr().err, seconds=10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
