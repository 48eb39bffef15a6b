"""Generate as a person runs it: the same prompts for all, resumed after a kill, told apart."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.records import samples as records

Door = Callable[..., Any]


@pytest.fixture
def bare(trained: list[str]) -> list[str]:
    return [*trained, "decoding.max_new_tokens=12", "decoding.batch=2"]


@pytest.fixture
def arguments(bare: list[str]) -> list[str]:
    return [
        *bare,
        "decoding=[greedy,beam,nucleus]",
        "decoding.decoders.beam.beams=2",
        "checkpoints=[base,epoch1,last]",
    ]


def without_time(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "samples.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


def test_every_checkpoint_and_decoder_continues_the_same_prompts(
    door: Door, arguments: list[str]
) -> None:
    done = door("generate", *arguments)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    samples = records.read(folder / "samples.jsonl")
    assert len(samples) == len({sample.key for sample in samples}) == 3 * 3 * 4
    assert {sample.checkpoint for sample in samples} == {"base", "epoch1", "epoch2"}
    assert {sample.decoder for sample in samples} == {"greedy", "beam", "nucleus"}
    prompts = {s.prompt_id: (s.prompt, s.reference) for s in samples}
    assert len(prompts) == 4
    assert all(prompt[-1]["role"] == "user" for prompt, _ in prompts.values())
    for sample in samples:
        assert (sample.prompt, sample.reference) == prompts[sample.prompt_id]
        assert sample.finish_reason in ("stop", "length")
        assert sample.new_tokens <= 12
    greedy = {(s.checkpoint, s.prompt_id): s.text for s in samples if s.decoder == "greedy"}
    changed = [p for p in prompts if greedy["base", p] != greedy["epoch2", p]]
    assert changed, "the adapter changes nothing: is it switched on?"
    again = door("generate", *arguments)
    assert again.stdout == done.stdout
    assert "done already" in again.stderr


def test_base_alone_says_what_base_among_adapters_says(door: Door, arguments: list[str]) -> None:
    among = without_time(Path(door("generate", *arguments).stdout.strip()))
    alone = without_time(Path(door("generate", *arguments, "checkpoints=[base]").stdout.strip()))
    assert alone == [sample for sample in among if sample["checkpoint"] == "base"]


def test_killed_and_resumed_only_what_is_missing_is_made(
    door: Door, start: Callable[..., Any], arguments: list[str]
) -> None:
    calm = Path(door("generate", *arguments).stdout.strip())
    expected = without_time(calm)
    shutil.rmtree(calm)
    process = start("generate", *arguments)
    file = calm / "samples.jsonl"
    while process.running and not (file.exists() and file.read_text().count("\n") >= 5):
        time.sleep(0.001)
    process.send(signal.SIGKILL)
    process.wait()
    assert not (calm / "manifest.json").exists()
    before = file.read_text().splitlines()
    with file.open("a") as torn:
        torn.write('{"task": "podcast", "prompt_id": "tor')
    again = door("generate", *arguments)
    assert again.returncode == 0, again.stderr
    assert "samples are there already" in again.stderr
    assert without_time(calm) == expected
    assert file.read_text().splitlines()[: len(before)] == before


def test_a_batch_of_prompts_says_what_each_says_alone(door: Door, bare: list[str]) -> None:
    said = []
    for size in (1, 4):
        arguments = [*bare, "decoding=[greedy]", f"decoding.batch={size}"]
        samples = without_time(Path(door("generate", *arguments).stdout.strip()))
        said.append({(s["checkpoint"], s["prompt_id"]): s["text"] for s in samples})
    assert said[0] == said[1]
    assert len(said[0]) == 2 * 4


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("checkpoints=[base,epoch9]", ["no epoch9", "epoch1", "last"]),
        ("run=no/such/folder", ["no finished training run", "python -m train"]),
        ("decoding.max_new_tokens=255", ["no held-out row makes a prompt"]),
    ],
)
def test_what_cannot_be_made_is_said_in_words(
    door: Door, arguments: list[str], override: str, words: list[str]
) -> None:
    done = door("generate", *arguments, override)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_run_is_found_by_its_folder_with_its_own_template(
    door: Door, trained: list[str], tmp_path: Path
) -> None:
    assert trained
    (run,) = (tmp_path / "runs" / "train").iterdir()
    done = door("generate", "corpus=show", f"run={run}", "decoding.max_new_tokens=5")
    assert done.returncode == 0, done.stderr
    samples = records.read(Path(done.stdout.strip()) / "samples.jsonl")
    assert {sample.checkpoint for sample in samples} == {"base", "epoch2"}


def test_samples_reach_the_report(door: Door, arguments: list[str]) -> None:
    assert door("generate", *arguments).returncode == 0
    done = door("compare", *arguments)
    assert done.returncode == 0, done.stderr
    report = Path(done.stdout.strip())
    assert report.name == "report.html"
    assert "Maren Tolliver" in report.read_text()
