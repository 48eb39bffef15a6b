"""What promises to survive a kill is killed here; a resumed run must be bitwise the calm one."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import by_hand
import pytest
import torch
from doors import DoorProcess
from hydra import compose, initialize_config_module
from kills import AIMS, Site, freeze, result, stop
from shows import make_corpus, tiny_overrides

from understudy import artifacts, door
from understudy.prepare import stage as prepare
from understudy.records import jsonl
from understudy.train import rng, stage
from understudy.train.step import take
from understudy.train.stop import TOGETHER, Flag, Interrupted
from understudy.train.training import Training

SHORT = (
    "corpus=show",
    "split.valid_items=3",
    "split.valid_share=null",
    "optim.lr=1e-2",
    "optim.rows_per_step=4",
    "schedule.epochs=2",
    "adapter.r=4",
    "adapter.dropout=0.1",
    "eval.every_steps=1",
    "eval.speak_tokens=20",
)
EACH_STEP = "keep.resume_minutes=0"
PACKED = ("memory.packing=true", "memory.micro_batch=2")
METHODS = {
    "lora": (EACH_STEP, *PACKED),
    "qlora": ("adapter=qlora", "model.dtype=bf16", "keep.resume_steps=2", *PACKED),
    "unfreeze": (
        "adapter=unfreeze", "adapter.blocks=1", "adapter.head=false", EACH_STEP, *PACKED
    ),
}  # fmt: skip
LANES = {
    "lora": (
        "loading", "base", "first step", "saving", "validation", "epoch's edge",
        "last measurement", "sealing",
    ),
    "qlora": ("base", "mid-epoch", "saving", "saving the epoch", "epoch's edge", "speaking"),
    "unfreeze": (
        "mid-epoch", "saving", "validation", "saving the epoch", "speaking", "last measurement"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole_site(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Twelve short rows to learn from, three held out: two fit into one line when packed."""
    root = tmp_path_factory.mktemp("restart")
    make_corpus(root, "show", items=15, turns=4)
    arguments = [*SHORT, *tiny_overrides(tiny_model)]
    ended = DoorProcess("prepare", arguments, root).wait()
    assert ended.returncode == 0, ended.stderr
    return Site(root, arguments)


@pytest.fixture
def site(whole_site: Site) -> Site:
    whole_site.clear()
    return whole_site


# --- SIGKILL ---


def test_twenty_kills_are_spread_over_every_kind_of_place() -> None:
    assert sum(len(lane) for lane in LANES.values()) == 20
    assert set(itertools.chain(*LANES.values())) == AIMS.keys()


@pytest.mark.parametrize("method", LANES)
def test_killed_anywhere_and_resumed_is_bitwise_never_killed(site: Site, method: str) -> None:
    overrides = METHODS[method]
    expected = site.calm(*overrides)
    chance = random.Random(method)
    for aim in LANES[method]:
        site.kill(aim, chance, *overrides)
    ended = site.finish(*overrides)
    assert ended.returncode == 0, ended.stderr
    assert "going on after step" in ended.stderr
    assert result(site.run) == expected
    assert site.status()["state"] == "succeeded"
    assert not list(site.run.glob(".*.part"))
    events = [json.loads(line) for line in (site.run / "events.jsonl").read_text().splitlines()]
    assert {event["type"] for event in events} == {"message", "metrics"}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kills"), [("lora", 34), ("qlora", 33), ("unfreeze", 33)])
def test_a_hundred_kills_at_any_moment_need_no_repair(site: Site, method: str, kills: int) -> None:
    overrides = METHODS[method]
    expected = site.calm(*overrides)
    began = time.monotonic()
    assert site.finish(*overrides).returncode == 0
    longest = time.monotonic() - began
    site.clear()
    chance = random.Random(f"a hundred, {method}")
    hit = 0
    while hit < kills:
        process = site.start(*overrides)
        process.process.join(longest * chance.random())
        if process.running:
            process.send(signal.SIGKILL)
        ended = process.wait()
        if ended.returncode == -signal.SIGKILL:
            hit += 1
        else:
            assert ended.returncode == 0, ended.stderr
            assert result(site.run) == expected
            site.clear()
    ended = site.finish(*overrides)
    assert ended.returncode == 0, ended.stderr
    assert result(site.run) == expected


# --- SIGTERM and SIGINT ---


# Ten minutes pass in none of these steps: what is saved, the signal alone has saved. Many small
# passes, so that there is a middle to be hit.
MANY_PASSES = ("optim.rows_per_step=6", "memory.micro_batch=1", "eval.micro_batch=1")


def interrupt(site: Site, aim: str, number: signal.Signals) -> tuple[int, str]:
    """Stop a run at a place by a signal; the step it stopped after, and what it said."""
    process = site.start(*MANY_PASSES)
    seen = freeze(process, site.runs, AIMS[aim])
    assert seen is not None, aim
    process.send(number)
    process.send(signal.SIGCONT)
    ended = process.wait(timeout=30)
    assert ended.returncode == 75, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert "the same command goes on from here" in ended.stderr
    assert site.status()["state"] == "queued"
    return seen.step, ended.stderr


def break_off(site: Site, aim: str, number: signal.Signals) -> tuple[int, str]:
    """The same, with the signal in the middle of the place and not in its last moment."""
    for _ in range(4):
        step, said = interrupt(site, aim, number)
        stepped = site.status().get("step", 0) > step
        lines = jsonl.read_whole(site.run / "metrics.jsonl")
        measured = any(line["step"] == step and "train_loss" not in line for line in lines)
        if not stepped and not (measured and aim in ("base", "validation")):
            return step, said
        site.clear()
    pytest.fail(f"never in the middle of {aim}")


def test_a_stop_anywhere_saves_and_the_resumed_run_is_bitwise_the_calm_one(site: Site) -> None:
    """While loading, in the base's measurement, within a step, in a validation: exit 75 each."""
    expected = site.calm(*MANY_PASSES)
    _, said = interrupt(site, "loading", signal.SIGINT)
    assert "stopped by SIGINT before the first step" in said
    assert "held-out" not in said
    break_off(site, "base", signal.SIGTERM)
    break_off(site, "first step", signal.SIGTERM)
    assert not (site.run / "checkpoints").exists(), "there was nothing to save"
    # Within the second step, so that the first one is saved as it was before the second began.
    step, said = break_off(site, "mid-epoch", signal.SIGINT)
    assert step == 1
    assert "stopped by SIGINT after step 1 of 4" in said
    assert (site.run / "checkpoints" / f"step-{step:06d}" / "manifest.json").is_file()
    break_off(site, "validation", signal.SIGTERM)
    ended = site.finish(*MANY_PASSES)
    assert ended.returncode == 0, ended.stderr
    assert result(site.run) == expected


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_a_step_that_is_broken_off_leaves_no_trace(tmp_path: Path, passes: int) -> None:
    """Gradients are dropped and the random generator is given back: dropout draws the same."""

    class After(Flag):
        """A signal that comes after so many passes."""

        left = passes

        @property
        def raised(self) -> bool:
            self.left -= 1
            return self.left < 0

    def run(name: str) -> Training:
        model = by_hand.with_lora(by_hand.random_model(), dropout=0.5)
        torch.manual_seed(2)
        settings = by_hand.config("optim.rows_per_step=4")
        return by_hand.training(model, by_hand.talks(3, 8), tmp_path / name, settings)

    calm = run("calm")
    take(calm, calm.steps[0])
    after = rng.state()["cpu"]
    broken = run("broken")
    with pytest.raises(Interrupted):
        take(dataclasses.replace(broken, stop=After()), broken.steps[0])
    assert all(parameter.grad is None for parameter in broken.trained)
    take(broken, broken.steps[0])
    assert torch.equal(rng.state()["cpu"], after)
    pairs = zip(calm.trained, broken.trained, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_second_signal_leaves_at_once_and_the_same_command_goes_on(site: Site) -> None:
    overrides = MANY_PASSES
    expected = site.calm(*overrides)
    process = site.start(*overrides)
    assert freeze(process, site.runs, AIMS["mid-epoch"]) is not None
    process.send(signal.SIGTERM)
    process.send(signal.SIGCONT)
    said = process.folder / "err"
    while process.running and "once more to leave at once" not in said.read_text():
        time.sleep(0.0002)
    assert stop(process)
    time.sleep(TOGETHER)
    process.send(signal.SIGTERM)
    process.send(signal.SIGCONT)
    began = time.monotonic()
    ended = process.wait()
    assert time.monotonic() - began < 1.5
    assert ended.returncode == 75, ended.stderr
    assert "left at once" in ended.stderr
    assert site.status()["state"] == "cancelled"
    assert site.status()["step"] == 1
    assert site.finish(*overrides).returncode == 0
    assert result(site.run) == expected


LONG = """
import hashlib, sys, threading
from pathlib import Path
from understudy.train.stop import stop_flag

with stop_flag(lambda: Path(sys.argv[1]).write_text("cancelled")) as flag:
    flag.defer()
    print("ready", flush=True)
    # One call into C that takes minutes, as a backward pass does.
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(sys.argv[2]))
    print("noted", flag.signal, flush=True)
"""


@pytest.fixture
def long_call(tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(rounds: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", LONG, str(tmp_path / "note"), str(rounds)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_a_second_signal_is_heard_in_the_middle_of_a_long_computation(
    long_call: Callable[[int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    child = long_call(2_000_000_000)
    child.send_signal(signal.SIGINT)
    time.sleep(TOGETHER + 0.1)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=2) == 75
    assert (tmp_path / "note").read_text() == "cancelled"


def test_a_signal_that_comes_twice_at_once_is_one(
    long_call: Callable[[int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """To the process, and to its group with it in it: the run must still be saved."""
    child = long_call(1_000_000)
    child.send_signal(signal.SIGTERM)
    time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=60)
    assert out == "noted SIGTERM\n"
    assert not (tmp_path / "note").exists()


# --- a full disk ---


@pytest.fixture
def small_disk(whole_site: Site) -> Iterator[Path]:
    """A disk of four MiB in the place of the site's `runs/train`."""
    whole_site.clear()
    disk = whole_site.runs
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        disk.rmdir()
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, leaving: int) -> Path:
    """Fill a disk up to so many bytes with a file of its own, which is returned."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - leaving)
    return filler


@pytest.mark.parametrize("what", ["a checkpoint", "metrics"])
def test_a_full_disk_is_said_and_costs_nothing_that_was_saved(
    whole_site: Site, request: pytest.FixtureRequest, what: str
) -> None:
    site = whole_site
    overrides = ("eval.every_steps=null", "keep.resume_steps=1", "memory.micro_batch=2")
    expected = site.calm(*overrides)
    disk = request.getfixturevalue("small_disk")
    process = site.start(*overrides)
    seen = freeze(process, site.runs, AIMS["mid-epoch"])
    assert seen is not None
    filler = fill(disk, 40 * 1024 if what == "a checkpoint" else 0)
    process.send(signal.SIGCONT)
    ended = process.wait()
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    (run,) = (path for path in disk.iterdir() if path.is_dir())
    assert f"{run.name} is full (0.0 of 4.0 MiB free)" in ended.stderr
    assert "make room, and the same command goes on" in ended.stderr
    if what == "a checkpoint":
        assert f"step {seen.step + 1} could not be saved" in ended.stderr
        status = json.loads((run / "status.json").read_text())
        assert (status["state"], status["step"]) == ("failed", seen.step + 1)
    manifest_file = run / "checkpoints" / f"step-{seen.step:06d}" / "manifest.json"
    manifest = artifacts.read_manifest(manifest_file)
    assert manifest is not None
    assert artifacts.damage(manifest_file, manifest) is None
    filler.unlink()
    ended = site.finish(*overrides)
    assert ended.returncode == 0, ended.stderr
    assert f"going on after step {seen.step} of" in ended.stderr
    assert result(run) == expected


# --- damage ---


def tear(checkpoint: Path) -> None:
    manifest = checkpoint / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])


def tamper(name: str) -> Callable[[Path], None]:
    def harm(checkpoint: Path) -> None:
        with (checkpoint / name).open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\0\1\2\3")

    return harm


def lose(name: str) -> Callable[[Path], None]:
    return lambda checkpoint: (checkpoint / name).unlink()


HARMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "torn manifest": (tear, "its manifest is torn"),
    "tampered adapter": (tamper("adapter_model.safetensors"), "does not match its SHA-256"),
    "tampered optimizer": (tamper("optimizer.safetensors"), "does not match its SHA-256"),
    "missing optimizer": (lose("optimizer.safetensors"), "optimizer.safetensors is missing"),
    "missing trainer": (lose("trainer.json"), "trainer.json is missing"),
    "half removed": (lose("manifest.json"), "was not finished"),
}
THREE = ("schedule.epochs=3", "keep.last=1", "keep.resume_steps=1", "eval.every_steps=null")


@pytest.fixture(scope="module")
def stopped(whole_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run that was killed after its last step."""
    whole_site.calm(*THREE)
    whole_site.kill("last measurement", random.Random(0), *THREE)
    copy = tmp_path_factory.mktemp("stopped") / whole_site.run.name
    shutil.copytree(whole_site.run, copy)
    return copy


@pytest.fixture
def run(site: Site, stopped: Path) -> Path:
    """That run once more, in its place."""
    return shutil.copytree(stopped, site.runs / stopped.name)


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").iterdir())


@pytest.mark.parametrize("harm", HARMS)
def test_the_newest_whole_checkpoint_wins_over_a_damaged_one(
    site: Site, run: Path, harm: str
) -> None:
    older, newest = checkpoints(run)
    damage, reason = HARMS[harm]
    damage(newest)
    ended = site.finish(*THREE)
    assert ended.returncode == 0, ended.stderr
    (warning,) = (line for line in ended.stderr.splitlines() if newest.name in line)
    assert "passed over" in warning
    assert reason in warning
    assert f"going on after step {int(older.name.removeprefix('step-'))} of" in ended.stderr
    assert result(run) == site.calm_results[THREE]


def test_what_a_kill_left_of_a_checkpoint_is_cleared_away(site: Site, run: Path) -> None:
    """And what bears another name is left alone."""
    half = run / "checkpoints" / "step-000001"
    mine = run / "checkpoints" / "step-000002-mine"
    for folder in (half, mine):
        folder.mkdir()
        (folder / "optimizer.safetensors").write_bytes(b"half")
    ended = site.finish(*THREE)
    assert ended.returncode == 0, ended.stderr
    assert not half.exists()
    assert [path.name for path in mine.iterdir()] == ["optimizer.safetensors"]
    shutil.rmtree(mine)
    assert result(run) == site.calm_results[THREE]


def test_a_finished_run_with_a_damaged_file_says_so_and_is_finished_again(
    site: Site, run: Path
) -> None:
    assert site.finish(*THREE).returncode == 0
    (run / "summary.json").write_text("{}")
    ended = site.finish(*THREE)
    assert ended.returncode == 0, ended.stderr
    assert "was done, but" in ended.stderr
    assert "summary.json has 2 bytes" in ended.stderr
    assert result(run) == site.calm_results[THREE]
    assert "done already" in site.finish(*THREE).stderr


def content(run: Path) -> dict[str, bytes]:
    """Every file of a run but its status, which says what came of the last start."""
    files = (file for file in sorted(run.rglob("*")) if file.is_file())
    return {
        str(file.relative_to(run)): file.read_bytes()
        for file in files
        if file.name not in ("status.json", ".lock")
    }


def test_where_no_checkpoint_is_whole_nothing_is_overwritten(site: Site, run: Path) -> None:
    older, newest = checkpoints(run)
    tear(newest)
    tamper("optimizer.safetensors")(older)
    before = content(run)
    ended = site.finish(*THREE)
    assert ended.returncode == 2, ended.stderr
    assert "has no whole checkpoint left" in ended.stderr
    assert older.name in ended.stderr
    assert newest.name in ended.stderr
    assert "fresh=true" in ended.stderr
    assert content(run) == before
    assert site.status()["state"] == "failed"


def test_a_checkpoint_of_another_run_is_refused(site: Site, run: Path) -> None:
    """Whole as it is, and older than the run's own."""
    older, _ = checkpoints(run)
    foreign = shutil.copytree(older, older.with_name("step-000001"))
    manifest = artifacts.read_manifest(foreign / "manifest.json")
    assert manifest is not None
    other = artifacts.Identity(stage="train", format=2, config={"seed": 7}, inputs={})
    artifacts.seal(foreign / "manifest.json", other, [foreign / name for name in manifest.files])
    before = content(run)
    ended = site.finish(*THREE)
    assert ended.returncode == 2, ended.stderr
    assert "step-000001 belongs to another run" in ended.stderr
    assert content(run) == before


def test_lines_that_would_not_be_written_again_are_missed(site: Site, run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[-2:]))
    before = content(run)
    ended = site.finish(*THREE)
    assert ended.returncode == 2, ended.stderr
    assert "metrics.jsonl has no line of step 1" in ended.stderr
    assert content(run) == before


def test_a_torn_line_is_dropped_and_another_machine_is_named(site: Site, run: Path) -> None:
    """A power cut tears lines; a run that was moved says from where."""
    # And a kill between two lines of scores, whose sum is not in the metrics yet.
    half = {"checkpoint": "epoch3", "step": 9, "item": "episode-1", "speaker": "Guest 1"}
    jsonl.append(run / "scores.jsonl", {**half, "loss": 1.0, "correct": 1, "tokens": 1})
    for name in ("metrics", "scores", "timing", "events"):
        with (run / f"{name}.jsonl").open("ab") as file:
            file.write(b'{"step": 9, "train_lo')
    for each in checkpoints(run):
        manifest = artifacts.read_manifest(each / "manifest.json")
        assert manifest is not None
        record = json.loads((each / "trainer.json").read_text())
        record["machine"] |= {"threads": 96, "torch": "1.0"}
        (each / "trainer.json").write_text(json.dumps(record))
        files = [each / name for name in manifest.files]
        artifacts.seal(each / "manifest.json", manifest.identity, files)
    (run / ".status.json.a1b2c3.part").write_text("{")
    ended = site.finish(*THREE)
    assert ended.returncode == 0, ended.stderr
    assert "threads 96, now" in ended.stderr
    assert "torch 1.0, now" in ended.stderr
    assert "may differ in their last digits" in ended.stderr
    for name in ("metrics", "scores", "timing", "events"):
        for line in (run / f"{name}.jsonl").read_text().splitlines():
            json.loads(line)
    for name in ("metrics.jsonl", "scores.jsonl"):
        assert result(run)[name] == site.calm_results[THREE][name]
    assert not list(run.glob("*.part"))
    assert not [name for name in json.loads((run / "manifest.json").read_text())["files"]
                if name.endswith(".part")]  # fmt: skip


# --- another run, or another set ---


def test_a_new_run_names_the_unfinished_one_and_what_differs(site: Site, run: Path) -> None:
    process = site.start(*THREE, "optim.lr=2e-2", "adapter.r=2", "seed=7")
    assert freeze(process, site.runs, lambda seen: seen.doing is not None) is not None
    process.send(signal.SIGKILL)
    said = process.wait().stderr
    assert (
        f"a new run: the unfinished {run.name} (step 9) differs in adapter.r=4 (here 2), "
        "optim.lr=0.01 (here 0.02), seed=42 (here 7)\n"
    ) in said


def test_another_template_or_tokenizer_makes_another_run(tiny_model: Path, tmp_path: Path) -> None:
    door.register_schema()
    folder = shutil.copytree(tiny_model, tmp_path / "model")

    def made(*overrides: str) -> str:
        with initialize_config_module("understudy.conf", version_base="1.3"):
            config = door.to_config(
                compose("config", [*SHORT, *tiny_overrides(folder), *overrides])
            )
        return stage.locate(config, prepare.identity(config, {}))[0].hash

    before = made("model.dialect=chatml")
    assert made("model.dialect=chatml") == before
    assert made("model.dialect=smollm2") != before
    record = json.loads((folder / "tokenizer.json").read_text())
    record["added_tokens"][-1]["content"] += "!"
    (folder / "tokenizer.json").write_text(json.dumps(record))
    assert made("model.dialect=chatml") != before


def test_a_set_that_was_changed_by_hand_is_refused(site: Site) -> None:
    (prepared,) = (site.root / "runs" / "prepare").iterdir()
    rows = prepared / "train.jsonl"
    before = rows.read_bytes()
    try:
        rows.write_bytes(before.replace(b"a thing or two", b"another thing", 1))
        changed = rows.read_bytes()
        ended = site.finish()
        assert ended.returncode == 2, ended.stderr
        assert f"{rows.name} " in ended.stderr
        assert "was changed after it was made" in ended.stderr
        assert "fresh=true" in ended.stderr
        assert rows.read_bytes() == changed
    finally:
        rows.write_bytes(before)
