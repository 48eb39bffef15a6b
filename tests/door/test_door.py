"""The doors as a person meets them: quick answers, one line on stdout, exit codes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STAGES = ("collect", "transcribe", "prepare", "train", "generate", "compare")
Door = Callable[..., Any]
HEAVY = "torch|transformers|peft|faster_whisper|pyannote|yt_dlp|matplotlib|numba"


@pytest.mark.parametrize("stage", STAGES)
def test_help_names_the_groups_and_keeps_stdout_readable(command: Door, stage: str) -> None:
    done = command(stage, "--help")
    assert done.returncode == 0
    assert f"python -m {stage} corpus=NAME" in done.stdout
    assert "adapter: dora, lora, lora_plus, qlora" in done.stdout


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optm.lr=1", ["no key optm", "Did you mean optim"]),
        ("task=podcat", ["task=podcat", "Did you mean podcast"]),
        ("adapter.r=0", ["adapter.r=0", "1 to 1024"]),
        ("optim.lr=fast", ["optim.lr=fast", "float"]),
        ("a", ["missing EQUAL"]),
    ],
)
def test_a_mistake_is_answered_in_words_with_exit_2(
    door: Door, stage: str, override: str, words: list[str]
) -> None:
    done = door(stage, "corpus=show", override)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_missing_corpus_names_the_command_that_makes_one(door: Door, stage: str) -> None:
    done = door(stage, "corpus=nowhere")
    assert done.returncode == 2
    assert "python -m collect" in done.stderr
    assert done.stdout == ""


def test_a_missing_corpus_name_is_asked_for(door: Door) -> None:
    done = door("train")
    assert done.returncode == 2
    assert "corpus is not set: give corpus=<value>" in done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_a_wrong_config_is_answered_without_loading_anything_heavy(
    stage: str, tmp_path: Path
) -> None:
    import subprocess
    import sys

    code = (
        f"import sys, re; sys.argv = ['{stage}', 'corpus=nowhere', 'optm.lr=1']\n"
        f"import {stage}\n"
        f"try:\n    {stage}.main()\nexcept SystemExit as end:\n    print(end.code)\n"
        f"print([m for m in sys.modules if re.fullmatch('{HEAVY}', m)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["2", "[]"]


def test_answers_come_at_once(command: Door) -> None:
    """Generous on purpose: machines are noisy, a needless import of torch takes far longer."""
    fastest = min(_seconds(lambda: command("train", "optm.lr=1")) for _ in range(3))
    assert fastest < 3


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_a_sweep_in_which_every_input_is_wrong_ends_like_one_job(door: Door) -> None:
    done = door("prepare", "-m", "corpus=nowhere", "adapter.r=2,4")
    assert done.returncode == 2
    assert "2 of 2 jobs failed" in done.stderr
    assert "there is no corpus nowhere" in done.stderr
    assert done.stdout == ""


def test_no_token_from_the_environment_or_the_command_line_reaches_the_disk(
    door: Door,
    corpus: Callable[..., Path],
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted = "hf_" + "PlantedTokenThatMustNotTravel"
    monkeypatch.setenv("HF_TOKEN", planted)
    corpus("show")
    assert door("prepare", "corpus=show", *tiny).returncode == 0
    done = door("prepare", "corpus=show", *tiny, f"report.title={planted}")
    assert done.returncode == 2
    assert planted not in done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if planted.encode() in path.read_bytes()]


def test_config_is_shown_without_python_objects(command: Door) -> None:
    done = command("train", "+experiment=demo", "--cfg", "job")
    assert done.returncode == 0
    assert "!!python" not in done.stdout
    assert "path: samples/show" in done.stdout


def test_hydra_leaves_no_folder_of_its_own_outside_runs(
    door: Door, corpus: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    corpus("show")
    assert door("prepare", "corpus=show", *tiny).returncode == 0
    entries = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".door-")}
    assert entries == {"data", "runs"}
    assert not list(tmp_path.rglob("overrides.yaml"))
