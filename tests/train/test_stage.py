"""Training as a person runs it: made, resumed after any kill, refused where it cannot be right."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Door = Callable[..., Any]
Start = Callable[..., Any]
Corpus = Callable[..., Path]
DETERMINISTIC = ("metrics.jsonl", "scores.jsonl", "config.yaml")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def result(run: Path) -> dict[str, bytes]:
    """What must not depend on how often a run was killed."""
    files = [run / name for name in DETERMINISTIC]
    files += sorted(run.glob("checkpoints/*/adapter_model.safetensors"))
    files += sorted(run.glob("checkpoints/*/optimizer.safetensors"))
    return {file.relative_to(run).as_posix(): file.read_bytes() for file in files}


def test_a_run_makes_what_the_design_names_and_the_same_command_says_done(
    door: Door, arguments: list[str]
) -> None:
    first = door("train", *arguments)
    assert first.returncode == 0, first.stderr
    run = Path(first.stdout.strip())
    assert first.stdout.count("\n") == 1
    assert "what is learned between « and »" in first.stderr
    assert "Traceback" not in first.stderr
    assert "bitsandbytes" not in first.stderr
    metrics = lines(run / "metrics.jsonl")
    assert metrics[0].keys() == {
        "step", "epoch", "full_valid_loss", "full_valid_mean_token_accuracy"
    }  # fmt: skip
    assert metrics[0]["step"] == 0
    epochs = [m for m in metrics if "full_valid_loss" in m]
    assert [m["epoch"] for m in epochs] == [0.0, 1.0, 2.0, 3.0]
    assert any("valid_loss" in m for m in metrics)
    steps = [m["step"] for m in metrics if "train_loss" in m]
    assert steps == list(range(1, len(steps) + 1))
    assert json.loads((run / "status.json").read_text())["state"] == "succeeded"
    checkpoints = {line["checkpoint"] for line in lines(run / "scores.jsonl")}
    assert checkpoints == {"base", "epoch1", "epoch2", "epoch3"}
    total = sum(line["tokens"] for line in lines(run / "scores.jsonl") if line["step"] == 0)
    loss = sum(line["loss"] for line in lines(run / "scores.jsonl") if line["step"] == 0)
    assert loss / total == pytest.approx(metrics[0]["full_valid_loss"])
    assert {e["type"] for e in lines(run / "events.jsonl")} == {"message", "metrics"}
    again = door("train", *arguments)
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert "done already" in again.stderr


def test_the_checkpoint_is_a_peft_folder_that_other_tools_load(
    door: Door, arguments: list[str], tiny_model: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = Path(door("train", *arguments).stdout.strip())
    newest = max((run / "checkpoints").iterdir())
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(base, newest)
    ups = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert ups
    assert all(p.dtype is torch.float32 for p in ups)
    assert any(bool(p.abs().max() > 0) for p in ups)


def test_killed_at_random_and_resumed_is_bitwise_never_killed(
    door: Door, start: Start, arguments: list[str]
) -> None:
    """SIGKILL at seeded moments, also while saving: no repair by hand, the same bytes."""
    arguments = [*arguments, "keep.resume_minutes=0"]
    calm = Path(door("train", *arguments).stdout.strip())
    expected = result(calm)
    shutil.rmtree(calm)
    chance = random.Random(7)
    kills = 0
    for _ in range(6):
        process = start("train", *arguments)
        wanted = _newest(calm) + chance.randint(1, 4)
        while process.running and _newest(calm) < wanted:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)
        if process.running:
            process.send(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 4
    final = door("train", *arguments)
    assert final.returncode == 0, final.stderr
    assert "going on after step" in final.stderr
    assert result(calm) == expected


def _newest(run: Path) -> int:
    names = [path.parent.name for path in run.glob("checkpoints/step-*/manifest.json")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def test_sigterm_saves_exits_75_and_the_same_command_goes_on(
    arguments: list[str], door: Door, start: Start, tmp_path: Path
) -> None:
    process = start("train", *arguments)
    runs = tmp_path / "runs" / "train"
    while process.running and not any(
        len(path.read_text().splitlines()) > 2 for path in runs.glob("*/metrics.jsonl")
    ):
        time.sleep(0.002)
    process.send(signal.SIGTERM)
    ended = process.wait(timeout=30)
    assert ended.returncode == 75, ended.stderr
    assert "the same command goes on from here" in ended.stderr
    (run,) = runs.iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "queued"
    step = _newest(run)
    assert step > 0
    again = door("train", *arguments)
    assert again.returncode == 0, again.stderr
    assert f"going on after step {step} " in again.stderr


@pytest.mark.parametrize("harm", ["tear", "tamper", "remove optimizer"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    door: Door, arguments: list[str], harm: str
) -> None:
    run = Path(door("train", *arguments).stdout.strip())
    expected = result(run)
    (run / "manifest.json").unlink()
    newest = max((run / "checkpoints").iterdir())
    if harm == "tear":
        (newest / "manifest.json").write_text("{")
    elif harm == "tamper":
        with (newest / "adapter_model.safetensors").open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\0\0\0\0")
    else:
        (newest / "optimizer.safetensors").unlink()
    again = door("train", *arguments)
    assert again.returncode == 0, again.stderr
    assert f"{newest.name} " in again.stderr
    assert "passed over" in again.stderr
    assert result(run) == expected


def test_keep_decides_which_epochs_stay(door: Door, arguments: list[str]) -> None:
    run = Path(door("train", *arguments, "keep.epochs=[1]").stdout.strip())
    progress = [
        json.loads(p.read_text())["progress"] for p in run.glob("checkpoints/*/trainer.json")
    ]
    assert sorted(p["epoch"] for p in progress) == [
        1,
        2,
        3,
    ]  # the two newest stay, and what was named
    run = Path(door("train", *arguments, "keep.last=1", "schedule.epochs=4").stdout.strip())
    progress = [
        json.loads(p.read_text())["progress"] for p in run.glob("checkpoints/*/trainer.json")
    ]
    assert sorted(p["epoch"] for p in progress) == [3, 4]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_rows(
    door: Door, arguments: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    done = door("train", *arguments, f"model.base={broken}")
    assert done.returncode == 1
    assert "not finite before" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = (tmp_path / "runs" / "train").iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert not (run / "manifest.json").exists()


def test_nf4_qlora_trains_on_a_cpu(door: Door, arguments: list[str]) -> None:
    done = door("train", *arguments, "adapter=qlora", "schedule.epochs=1", "model.dtype=bf16")
    assert done.returncode == 0, done.stderr
    losses = [
        m["train_loss"]
        for m in lines(Path(done.stdout.strip()) / "metrics.jsonl")
        if "train_loss" in m
    ]
    assert losses[-1] < losses[0]


def test_checkpointing_changes_no_loss(door: Door, arguments: list[str]) -> None:
    plain = Path(door("train", *arguments, "adapter.dropout=0").stdout.strip())
    before = lines(plain / "metrics.jsonl")
    again = door(
        "train", *arguments, "adapter.dropout=0", "memory=small_card", "memory.micro_batch=2",
        "fresh=true",
    )  # fmt: skip
    assert Path(again.stdout.strip()) == plain
    # Later steps start from weights that differ by rounding, and the differences grow.
    for one, other in zip(before[:3], lines(plain / "metrics.jsonl")[:3], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_missing_transcripts_name_the_command(door: Door, tiny: list[str], corpus: Corpus) -> None:
    folder = corpus("show")
    (folder / "episode-1" / "transcript.json").unlink()
    done = door("train", "corpus=show", *tiny)
    assert done.returncode == 2
    assert "episode-1" in done.stderr
    assert "python -m transcribe" in done.stderr
    assert done.stdout == ""


def test_what_changes_no_figure_changes_no_identity(
    door: Door, trained: list[str], tmp_path: Path
) -> None:
    (run,) = (tmp_path / "runs" / "train").iterdir()
    mechanical = ("memory.micro_batch=2", "eval.micro_batch=1", "keep.resume_minutes=1")
    again = door("train", *trained, *mechanical)
    assert Path(again.stdout.strip()) == run
    assert "done already" in again.stderr


def test_what_a_kill_left_of_a_checkpoint_is_cleared_away(
    door: Door, trained: list[str], tmp_path: Path
) -> None:
    (run,) = (tmp_path / "runs" / "train").iterdir()
    expected = {path.name for path in (run / "checkpoints").iterdir()}
    (run / "manifest.json").unlink()
    half = run / "checkpoints" / "step-000001"
    half.mkdir()
    (half / "optimizer.safetensors").write_bytes(b"half")
    again = door("train", *trained)
    assert again.returncode == 0, again.stderr
    assert {path.name for path in (run / "checkpoints").iterdir()} == expected
