"""`make gpu` without a GPU: the same script with a tiny model, and what it does where things fail."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent
SCRIPT = REPOSITORY / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def script(*arguments: object, seconds: float = 900) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def test_the_rehearsal_trains_is_killed_resumes_stops_and_ends(tmp_path: Path) -> None:
    done = script("--rehearse", "--without-tests", "--minutes", 14, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("gpu-cpu-20")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads(file.read_text())
    assert (result["name"], result["unit"]) == ("gpu", "learned tokens/s")
    assert result["ours"] > 0
    assert result["versions"]["bitsandbytes"]
    parts = {part.pop("name"): part for part in result["parts"]}
    assert {part["state"] for part in parts.values()} == {"passed"}
    killed, stopped, ended = (parts[n] for n in ("train and kill", "resume and stop", "end"))
    assert killed["killed_after_step"] > killed["saved_step"] >= 4
    assert stopped["resumed_at_step"] == killed["saved_step"] + 1
    assert stopped["loss_apart"] == 0
    assert stopped["loss_moved_before"] > 0.005
    assert 0 < stopped["stop_seconds"] < 30
    assert all(part["load_seconds"] > 0 for part in (killed, stopped, ended))
    assert f"going on after step {stopped['stopped_after_step']} of 16" in done.stderr
    assert ended["valid_loss"] != ended["base_loss"]


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


def test_a_failed_part_stops_only_what_needs_it(gpu: ModuleType) -> None:
    def fails(_limit: float) -> dict[str, Any]:
        raise gpu.PartFailedError("for a reason")

    parts = gpu.Parts(100)
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


def test_a_process_that_takes_too_long_is_ended_with_its_children(
    gpu: ModuleType, tmp_path: Path
) -> None:
    body = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    child = gpu.Child(["-c", f"{body}; import time; time.sleep(60)"], tmp_path)
    child.process.stdin = None
    with pytest.raises(gpu.PartFailedError, match="did not end within 1 s"):
        child.must_end(0, 1)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child.out[0]}/cmdline").exists() and time.monotonic() < deadline:
        if not Path(f"/proc/{child.out[0]}/cmdline").read_bytes():
            break  # ended, and not yet buried
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{child.out[0]}").exists()


class Past:
    """A run folder before and after a resume."""

    def __init__(self, gpu: ModuleType, folder: Path) -> None:
        self.run = folder / "runs" / "train" / "one"
        self.run.mkdir(parents=True)
        self.trial = gpu.Trial(gpu.REHEARSED, folder, {"bf16": True})
        self.lines = [{"step": n, "train_loss": 7 - 0.1 * n, "tokens": 9 * n} for n in (1, 2, 3)]
        self.trial.before = {line["step"]: dict(line) for line in self.lines}
        self.trial.plan = b"plan"

    def compare(self) -> dict[str, Any]:
        (self.run / "plan.jsonl").write_bytes(b"plan")
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        # The last line is being written.
        (self.run / "metrics.jsonl").write_text(f'{text}{{"step": 4')
        return dict(self.trial._compare(3))


def test_a_resumed_step_must_be_the_one_before_the_kill(gpu: ModuleType, tmp_path: Path) -> None:
    past = Past(gpu, tmp_path)
    assert past.compare()["loss_apart"] == 0
    past.lines[2]["train_loss"] += 0.002
    with pytest.raises(gpu.PartFailedError, match=r"6\.70200 after the resume, 6\.70000 before"):
        past.compare()
    past.lines[2] = {"step": 3, "train_loss": 6.7, "tokens": 28}
    with pytest.raises(gpu.PartFailedError, match="step 3 has other rows"):
        past.compare()


def test_a_loss_that_never_moved_shows_nothing(gpu: ModuleType, tmp_path: Path) -> None:
    past = Past(gpu, tmp_path)
    for line in (*past.lines, *past.trial.before.values()):
        line["train_loss"] = 7.0
    with pytest.raises(gpu.PartFailedError, match="says nothing"):
        past.compare()


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = gpu.Trial(gpu.FULL, tmp_path, {"bf16": True})
    usage = type("Usage", (), {"free": 3 * 2**30})
    monkeypatch.setattr(gpu.shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(
        gpu.PartFailedError, match=r"3\.0 GiB free and 15\.5 are needed: set TMPDIR"
    ):
        trial.write(1, rehearse=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("card", "budget"), [(139.8, 24), (23.64, 23.6), (15.9, 15.9)])
def test_no_more_than_the_card_has_is_asked_for(
    gpu: ModuleType, tmp_path: Path, card: float, budget: float
) -> None:
    trial = gpu.Trial(gpu.FULL, tmp_path, {"bf16": False, "gib": card})
    assert f"memory.budget_gib={budget:g}" in {
        argument.replace(".0", "") for argument in trial.arguments
    }
    assert "model.dtype=fp16" in trial.arguments


def test_skipped_tests_count_as_not_passed(gpu: ModuleType, tmp_path: Path) -> None:
    report = tmp_path / "tests.xml"
    report.write_text(
        '<testsuites><testsuite><testcase name="good"/><testcase name="bad"><failure/></testcase>'
        '<testcase name="torn"><error/></testcase><testcase name="left"><skipped/></testcase>'
        "</testsuite></testsuites>"
    )
    found = gpu.outcomes(report)
    assert found == {"tests": 4, "failed": ["bad", "torn"], "skipped": ["left"]}


def test_its_commands_and_shape_are_those_that_the_config_names(gpu: ModuleType) -> None:
    """The shape of Mistral-7B-v0.1 and v0.2, as its config on the hub has it."""
    weights = 2 * 32000 * 4096 + 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert weights == 7_241_465_856 - 65 * 4096  # without the norms
    assert gpu.FULL.shape["num_hidden_layers"] == 32
    assert gpu.FULL.context == 4096


@pytest.mark.slow
def test_the_tests_for_a_gpu_pass_on_a_cpu() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/gpu"],
        cwd=REPOSITORY,
        env={**os.environ, "UNDERSTUDY_GPU_REHEARSAL": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


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
