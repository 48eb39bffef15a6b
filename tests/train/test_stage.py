"""Training as a person runs it: made, and refused where it cannot be right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Door = Callable[..., Any]
Corpus = Callable[..., Path]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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


def test_keep_decides_which_epochs_stay(door: Door, arguments: list[str]) -> None:
    run = Path(door("train", *arguments, "keep.epochs=[1]").stdout.strip())
    progress = [
        json.loads(p.read_text())["progress"] for p in run.glob("checkpoints/*/trainer.json")
    ]
    assert sorted(p["epoch"] for p in progress) == [1, 3], "what was named, and the last"
    run = Path(door("train", *arguments, "keep.last=1", "schedule.epochs=4").stdout.strip())
    progress = [
        json.loads(p.read_text())["progress"] for p in run.glob("checkpoints/*/trainer.json")
    ]
    assert sorted(p["epoch"] for p in progress) == [4]


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
