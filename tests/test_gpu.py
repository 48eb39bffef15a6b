"""`make gpu` without a GPU: the same script with a tiny model, and what it does on failure."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doors import DoorProcess

REPOSITORY = Path(__file__).parent.parent
SCRIPT = REPOSITORY / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """The script's parts, so that they are found here, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        # No longer: in the forked doors `train` would be the benchmark.
        for name in ("machine", "model", "order", "result"):
            importlib.import_module(f"card.{name}")


def script(*arguments: object, seconds: float = 900) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


class Forked:
    """A door forked from a server that has the libraries loaded, in a `Popen`'s clothes."""

    def __init__(self, stage: str, overrides: list[str], cwd: Path) -> None:
        self.door = DoorProcess(stage, overrides, cwd)
        self.stdout: tuple[str, ...] = ()
        self.stderr = self._tail(self.door.folder / "err")

    def poll(self) -> int | None:
        return self.door.process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.door.process.exitcode

    def wait(self, timeout: float | None = None) -> None:
        self.door.process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("door", timeout or 0)

    def kill(self) -> None:
        self.door.process.kill()

    @property
    def pid(self) -> int | None:
        return self.door.process.pid

    def _tail(self, path: Path) -> Iterator[str]:
        text, ended = "", False
        while not ended:
            # Asked before reading, or the last lines could be missed.
            ended = self.poll() is not None
            text += path.read_text()[len(text) :] if path.exists() else ""
            while "\n" in text[self.at :]:
                end = text.index("\n", self.at) + 1
                yield text[self.at : end]
                self.at = end
            time.sleep(0.005)

    at = 0


def walked(folder: Path) -> Any:
    """The trial, its doors forked and its model made here: no interpreter is started."""
    from card import child, trial
    from card.machine import machine
    from card.model import random_model
    from card.size import REHEARSED

    class Walker(child.Child):  # type: ignore[misc]
        def kill(self) -> None:
            self.process.kill()
            self.process.wait()
            self._finish()

    class Trial(trial.Trial):  # type: ignore[misc]
        def write(self, _limit: float, *, rehearse: bool) -> dict[str, Any]:
            assert rehearse
            made = random_model(self.folder, self.size.shape, rehearse=rehearse)
            assert DoorProcess("prepare", self.arguments, self.folder).wait().returncode == 0
            return dict(made)

        def start(self) -> Walker:
            return Walker(Forked("train", self.arguments, self.folder))

    return Trial(REHEARSED, folder, machine(rehearse=True))


def test_it_trains_is_killed_resumes_stops_and_ends(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from card.machine import machine
    from card.order import do_all
    from card.parts import Parts
    from card.result import Result
    from card.size import REHEARSED

    trial = walked(tmp_path)
    result = Result(REHEARSED, machine(rehearse=True), tmp_path / "results")
    parts = Parts(900, result.write)
    do_all(parts, trial, rehearse=True, without_tests=True)
    said = capfd.readouterr().err
    assert parts.code == 0, said
    whole(json.loads(result.file.read_text()), said)


def whole(result: dict[str, Any], said: str) -> None:
    """Check what a rehearsal found."""
    assert (result["name"], result["unit"]) == ("gpu", "learned tokens/s")
    assert result["ours"] > 0
    assert result["versions"]["bitsandbytes"]
    parts = {part.pop("name"): part for part in result["parts"]}
    assert {part["state"] for part in parts.values()} == {"passed"}
    killed, stopped, ended = (parts[n] for n in ("train and kill", "resume and stop", "end"))
    assert killed["killed_after_step"] > killed["saved_step"] >= 4
    assert stopped["resumed_at_step"] == killed["saved_step"] + 1
    assert stopped["loss_apart"] == 0
    assert stopped["others_apart"] > 0.005
    assert 0 < stopped["stop_seconds"] < 30
    # So small a model is loaded in no time at all.
    assert all(part["load_seconds"] >= 0 for part in (killed, stopped, ended))
    assert f"going on after step {stopped['stopped_after_step']} of 12" in said
    assert ended["valid_loss"] != ended["base_loss"]


@pytest.mark.slow
def test_the_rehearsal_is_the_same_from_the_command_line(tmp_path: Path) -> None:
    done = script("--rehearse", "--minutes", 30, "--results", tmp_path, seconds=1800)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("gpu-cpu-20")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads(file.read_text())
    assert result["parts"][0]["tests"] > 20
    whole(result, done.stderr)


def test_without_a_gpu_it_says_so_and_how_to_rehearse() -> None:
    done = script()
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no CUDA device" in done.stderr
    assert "benchmarks/gpu.py --rehearse" in done.stderr


def test_what_there_is_no_time_for_is_left_out_and_said(tmp_path: Path) -> None:
    done = script("--rehearse", "--minutes", 0.1, "--results", tmp_path)
    assert done.returncode == 3
    assert {part["state"] for part in json.loads(done.stdout)["parts"]} == {"left out"}
    assert "LEFT OUT: tests, weights, train and kill, resume and stop, end" in done.stderr


def test_a_failed_part_stops_only_what_needs_it() -> None:
    from card.parts import PartFailedError, Parts

    def fails(_limit: float) -> dict[str, Any]:
        raise PartFailedError("for a reason")

    parts = Parts(100)
    parts.take("first", fails, least=1, most=9)
    parts.take("second", lambda limit: {"limit": limit}, least=1, most=9, needs="first")
    parts.take("third", lambda limit: {"limit": limit}, least=1, most=9)
    parts.take("fourth", lambda limit: {"limit": limit}, least=101, most=900)
    states = {part["name"]: (part["state"], part.get("error")) for part in parts.done}
    assert states["first"] == ("failed", "for a reason")
    assert states["second"] == ("left out", "first did not pass")
    assert states["third"] == ("passed", None)
    assert states["fourth"][0] == "left out"
    assert parts.code == 1


def test_a_process_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    from card.child import Child
    from card.parts import PartFailedError

    body = (
        "import subprocess; inner = subprocess.Popen(['sleep', '60']); "
        "print(inner.pid, flush=True); inner.wait()"
    )
    child = Child.python(["-c", body], tmp_path)
    with pytest.raises(PartFailedError, match="did not end within 3 s"):
        child.must_end(0, 3)
    state = Path(f"/proc/{child.out[0]}/stat")
    deadline = time.monotonic() + 5
    # Z: ended, and not buried yet.
    while state.exists() and state.read_text().split(") ")[1][0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Past:
    """A run folder before and after a resume."""

    def __init__(self, folder: Path) -> None:
        from card.size import REHEARSED
        from card.trial import Trial

        self.run = folder / "runs" / "train" / "one"
        self.run.mkdir(parents=True)
        self.trial = Trial(REHEARSED, folder, {"bf16": True})
        self.lines = [{"step": n, "train_loss": 7 - 0.1 * n, "tokens": 9 * n} for n in (1, 2, 3)]
        self.trial.before = {line["step"]: dict(line) for line in self.lines}
        self.trial.plan = b"plan"

    def compare(self) -> dict[str, Any]:
        (self.run / "plan.jsonl").write_bytes(b"plan")
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        # The last line is being written.
        (self.run / "metrics.jsonl").write_text(f'{text}{{"step": 4')
        return dict(self.trial._compare(3))


def test_a_resumed_step_must_be_the_one_before_the_kill(tmp_path: Path) -> None:
    from card.parts import PartFailedError

    past = Past(tmp_path)
    assert past.compare()["loss_apart"] == 0
    past.lines[2]["train_loss"] += 0.002
    with pytest.raises(PartFailedError, match=r"6\.70200 after the resume, 6\.70000 before"):
        past.compare()
    past.lines[2] = {"step": 3, "train_loss": 6.7, "tokens": 28}
    with pytest.raises(PartFailedError, match="step 3 has other rows"):
        past.compare()


def test_a_loss_that_never_moved_shows_nothing(tmp_path: Path) -> None:
    from card.parts import PartFailedError

    past = Past(tmp_path)
    for line in (*past.lines, *past.trial.before.values()):
        line["train_loss"] = 7.0
    with pytest.raises(PartFailedError, match="says nothing"):
        past.compare()


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from card.parts import PartFailedError
    from card.size import FULL
    from card.trial import Trial

    trial = Trial(FULL, tmp_path, {"bf16": True})
    usage = type("Usage", (), {"free": 3 * 2**30})
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(PartFailedError, match=r"3\.0 GiB free and 15\.5 are needed: set TMPDIR"):
        trial.write(1, rehearse=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("card", "budget"), [(139.8, 24), (23.64, 23.6), (15.9, 15.9)])
def test_no_more_than_the_card_has_is_asked_for(tmp_path: Path, card: float, budget: float) -> None:
    from card.size import FULL
    from card.trial import Trial

    trial = Trial(FULL, tmp_path, {"bf16": False, "gib": card})
    assert f"memory.budget_gib={budget:g}" in {
        argument.replace(".0", "") for argument in trial.arguments
    }
    assert "model.dtype=fp16" in trial.arguments


def test_skipped_tests_count_as_not_passed(tmp_path: Path) -> None:
    from card.suite import outcomes

    report = tmp_path / "tests.xml"
    report.write_text(
        '<testsuites><testsuite><testcase name="good"/><testcase name="bad"><failure/></testcase>'
        '<testcase name="torn"><error/></testcase><testcase name="left"><skipped/></testcase>'
        "</testsuite></testsuites>"
    )
    found = outcomes(report)
    assert found == {"tests": 4, "failed": ["bad", "torn"], "skipped": ["left"]}


@pytest.mark.parametrize(
    ("kind", "name", "parameters"),
    [("Mistral", "MISTRAL_7B", 7_241_732_096), ("Llama", "LLAMA_8B", 8_030_261_248)],
)
def test_the_shapes_are_those_of_the_models(kind: str, name: str, parameters: int) -> None:
    """As many parameters as the hub counts."""
    import shapes
    import torch
    from card.size import FULL
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shapes.config_of(kind, getattr(shapes, name)))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert FULL.shape == shapes.MISTRAL_7B
    assert getattr(model.config, "sliding_window", None) is None


def test_what_a_benchmark_ran_on_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    import surroundings

    card = surroundings.Card(
        name="NVIDIA T4", gib=14.56, capability="7.5", bf16=False, cuda="13.0", driver="580.1"
    )
    found = surroundings.surroundings("torch", "no-such-package", card=card)
    assert found["hardware"].startswith("NVIDIA T4, 15 GiB, compute capability 7.5, ")
    assert found["versions"]["torch"]
    assert found["versions"]["no-such-package"] is None
    assert (found["versions"]["cuda"], found["versions"]["driver"]) == ("13.0", "580.1")
    # A machine without git.
    monkeypatch.setenv("PATH", "")
    assert surroundings.surroundings()["commit"] is None


def test_the_tests_for_a_gpu_are_skipped_without_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu/test_nf4.py"],
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "needs a CUDA device: make gpu" in done.stdout
