"""Sweeps from the command line: real doors, real processes, real signals."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweeps import Launched, rows, sweep_folder, until

from understudy.config import Config

Launch = Callable[..., Launched]
Door = Callable[..., Any]


def training(root: Path, known: set[Path]) -> list[Path]:
    """Training runs beside those known that have done a step."""
    runs = (root / "runs" / "train").glob("*/metrics.jsonl")
    found = [path for path in runs if path.parent not in known]
    return [path.parent for path in found if "train_loss" in path.read_text()]


def no_job_lives(folder: Path) -> bool:
    """Whether the file that every job of a sweep holds is free."""
    with (folder / ".jobs").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def state(run: Path) -> str:
    return str(json.loads((run / "status.json").read_text())["state"])


def test_a_killed_sweep_goes_on_and_a_failed_job_stops_no_other(
    launch: Launch, trained: list[str], tmp_path: Path
) -> None:
    """Job 1 is made already, job 2 is killed in the middle, jobs 3 and 4 have no corpus."""
    planted = "hf_" + "PlantedTokenThatMustNotTravel"
    command = [*trained, "corpus=show,nowhere", "optim.lr=2e-2,1e-2"]
    before = set((tmp_path / "runs" / "train").iterdir())
    (made,) = before
    sealed = (made / "manifest.json").stat().st_mtime_ns
    first = launch("train", *command, HF_TOKEN=planted)
    until(lambda: training(tmp_path, before))
    first.send(signal.SIGKILL)
    (cut,) = training(tmp_path, before)
    folder = sweep_folder(tmp_path)
    again = launch("train", *command, HF_TOKEN=planted)
    ended = again.end()
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout == f"{folder}\n"
    assert no_job_lives(folder)

    # The one that was there was left alone, the one that was cut went on, and did not start over.
    assert (made / "manifest.json").stat().st_mtime_ns == sealed
    starts = (folder / "jobs" / "2.log").read_text().split("--- ")[1:]
    assert len(starts) == 2
    assert "SIGTERM: saving" in starts[0]
    assert "train: going on after step" in starts[1]
    assert "train: done already" in (folder / "jobs" / "1.log").read_text()

    table = rows(folder)
    assert [row["state"] for row in table] == ["done", "done", "failed", "failed"]
    assert [(row["corpus"], float(row["optim.lr"])) for row in table] == [
        ("show", 0.02),
        ("show", 0.01),
        ("nowhere", 0.02),
        ("nowhere", 0.01),
    ]
    runs = [(folder / row["output"]).resolve() for row in table[:2]]
    assert runs == [made, cut]
    for row, run in zip(table, runs, strict=False):
        summary = json.loads((run / "summary.json").read_text())
        assert float(row["full_valid_loss"]) == summary["valid_loss"]
        assert float(row["best_full_valid_loss"]) == summary["best_loss"]
        assert float(row["train_loss"]) == summary["train_loss"]
    best = min(table[:2], key=lambda row: float(row["best_full_valid_loss"]))
    assert [row["job"] for row in table if row["best"]] == [best["job"]]
    assert "there is no corpus nowhere" in table[2]["reason"]
    assert "2 of 4 jobs failed" in ended.stderr
    named = "job 3 (corpus=nowhere optim.lr=0.02), 4 (corpus=nowhere optim.lr=0.01), exit 2"
    assert named in ended.stderr
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "sweep.png" in (folder / "sweep.md").read_text()
    # In part is not finished.
    assert not (folder / "manifest.json").exists()
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in written if planted.encode() in path.read_bytes()]


def test_sigterm_reaches_the_running_job_and_the_sweep_ends_with_75(
    launch: Launch, trained: list[str], tmp_path: Path
) -> None:
    sweep = launch("train", *trained, "optim.lr=3e-2,4e-2")
    until((tmp_path / "runs" / "sweep").exists)
    folder = sweep_folder(tmp_path)
    until((folder / "jobs" / "1.log").exists)
    sweep.send(signal.SIGTERM)
    ended = sweep.end()
    assert ended.returncode == 75, ended.stderr
    assert ended.stdout == ""
    assert "SIGTERM: waiting for 1 running job(s) to save" in ended.stderr
    assert "0 of 2 jobs done; the same command goes on from here" in ended.stderr
    assert [row["state"] for row in rows(folder)] == ["stopped", "waiting"]
    assert not (folder / "jobs" / "2.log").exists()
    assert no_job_lives(folder)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("optm.lr=1,2",), ["no key optm", "Did you mean optim"]),
        (("adapter.r=4,8", "optim.lr=fast"), ["optim.lr=fast", "float"]),
        (("adapter.r=4,8", "seed=-1"), ["seed=-1 is out of range"]),
        (("adapter.r=0,4,8",), ["1 of 3 jobs cannot be run", "job 1 (adapter.r=0)", "1 to 1024"]),
        (("adapter.r=4,8", "optim.lr=interval(1e-5,1e-3)"), ["does not support sweep type"]),
    ],
)
def test_a_wrong_config_is_refused_before_any_job_starts(
    door: Door, tmp_path: Path, overrides: tuple[str, ...], words: list[str]
) -> None:
    done = door("train", "-m", "corpus=nowhere", *overrides)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "runs" / "sweep").exists()


def test_a_token_in_an_override_is_refused_and_not_written(door: Door, tmp_path: Path) -> None:
    planted = "hf_" + "PlantedTokenThatMustNotTravel"
    # With a typo in it Hydra comes to its own copy of the config, but never to the launcher.
    done = door("train", "-m", "corpus=nowhere", "optm.lr=1,2", f"report.title={planted}")
    assert done.returncode == 2
    assert "report.title looks like an access token" in done.stderr
    assert planted not in done.stderr
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in written if planted.encode() in path.read_bytes()]


NASTY = (
    "corpus=nowhere",
    "report.title='a, \"b\" $HOME c?v=1&x={y} ${paths.data}'",
    "source.url='https://e.org/w?v=1,2&t=[3]'",
    "checkpoints=[base,last,'a b']",
    "+corpora={nowhere: 2, other: 1}",
)


def test_jobs_get_their_overrides_exactly(
    door: Door, composed: Callable[..., Config], tmp_path: Path
) -> None:
    done = door("prepare", "-m", *NASTY, "decoding=[greedy],[beam,nucleus]", "hydra.verbose=false")
    # Where every job says that its input is wrong, so does the sweep.
    assert done.returncode == 2, done.stderr
    folder = sweep_folder(tmp_path)
    for number, choice in ((1, "[greedy]"), (2, "[beam,nucleus]")):
        head = (folder / "jobs" / f"{number}.log").read_text().splitlines()[0]
        _, _, *command = shlex.split(head)
        assert command[:3] == ["python", "-m", "prepare"]
        assert command[3] == "hydra.verbose=false"
        assert composed(*command[4:]) == composed(*NASTY, f"decoding={choice}")


def test_a_sweep_waits_for_a_job_of_an_earlier_start(launch: Launch, tmp_path: Path) -> None:
    command = ("corpus=nowhere", "adapter.r=4,8")
    assert launch("prepare", *command).end().returncode == 2
    folder = sweep_folder(tmp_path)
    with (folder / ".jobs").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        again = launch("prepare", *command)
        until(lambda: "waiting for a job of an earlier start" in again.streams[1].read_text())
    assert again.end().returncode == 2


def test_two_of_the_same_sweep_are_refused(launch: Launch, trained: list[str]) -> None:
    first = launch("train", *trained, "optim.lr=3e-2,4e-2")
    until(lambda: "sweep: 2 jobs" in first.streams[1].read_text())
    streams = [stream.rename(stream.with_suffix(".first")) for stream in first.streams]
    second = launch("train", *trained, "optim.lr=3e-2,4e-2").end()
    first.streams = streams
    first.send(signal.SIGTERM)
    assert first.end().returncode == 75
    assert second.returncode == 2
    assert "is being made by another process" in second.stderr


# --- slow ---


@pytest.mark.slow
def test_a_signal_in_the_middle_of_training_saves_and_a_second_one_leaves_at_once(
    launch: Launch, trained: list[str], tmp_path: Path
) -> None:
    before = set((tmp_path / "runs" / "train").iterdir())
    command = [*trained, "optim.lr=3e-2,4e-2", "schedule.epochs=40"]
    first = launch("train", *command)
    until(lambda: training(tmp_path, before))
    (run,) = training(tmp_path, before)
    until(lambda: len((run / "metrics.jsonl").read_text().splitlines()) > 3)
    # As a terminal does at Ctrl-C: to everything in the launcher's group, which jobs are not in.
    os.killpg(first.process.pid, signal.SIGINT)
    assert first.end().returncode == 75
    assert state(run) == "queued"
    assert list((run / "checkpoints").glob("step-*/manifest.json"))
    size = (run / "metrics.jsonl").stat().st_size
    second = launch("train", *command)
    until(lambda: (run / "metrics.jsonl").stat().st_size > size)
    second.send(signal.SIGTERM)
    second.send(signal.SIGTERM)
    assert second.end(20).returncode == 75
    assert no_job_lives(sweep_folder(tmp_path))


@pytest.mark.slow
def test_two_gpus_have_a_job_each_and_share_one_prepared_set(
    launch: Launch, trained: list[str], tmp_path: Path
) -> None:
    import shutil

    shutil.rmtree(tmp_path / "runs")
    sweep = launch("train", *trained, "optim.lr=3e-2,4e-2", CUDA_VISIBLE_DEVICES="0,1")
    until(lambda: len(list((tmp_path / "runs").glob("sweep/*/jobs/*.log"))) == 2, seconds=5)
    assert visible_devices(sweep.process.pid) == {"0", "1"}
    ended = sweep.end()
    assert ended.returncode == 0, ended.stderr
    assert "2 jobs, 2 at once" in ended.stderr
    assert len(list((tmp_path / "runs" / "prepare").iterdir())) == 1
    folder = sweep_folder(tmp_path)
    assert [row["state"] for row in rows(folder)] == ["done", "done"]
    assert (folder / "manifest.json").exists()


def visible_devices(launcher: int) -> set[str]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == launcher:
            found |= {v.partition(b"=")[2].decode() for v in variables if b"CUDA_VISIBLE" in v}
    return found


@pytest.mark.slow
def test_the_seeded_sweep_of_two_summary_variants_is_one_command(
    launch: Launch, tiny: list[str], tmp_path: Path
) -> None:
    from understudy.records import jsonl

    lines = [
        {"full_text": f"Video {n} is about bees and roofs.", "summary": f"Bees, part {n}."}
        for n in range(20)
    ]
    corpus = tmp_path / "data" / "show"
    corpus.mkdir(parents=True)
    jsonl.write(corpus / "rows.jsonl", lines)
    small = [
        *tiny,
        "model.dialect=null",
        "adapter.quantisation=none",
        "optim=adamw",
        "schedule.epochs=1",
    ]
    ended = launch(
        "train",
        "+experiment=qlora_summary,qlora_summary_fast",
        "optim.lr_multiplier=1,1.8",
        "seed=1",
        "corpus=show",
        f"task.rows={corpus / 'rows.jsonl'}",
        *small,
    ).end()
    assert ended.returncode == 0, ended.stderr
    table = rows(sweep_folder(tmp_path))
    assert [(row["experiment"], float(row["optim.lr_multiplier"])) for row in table] == [
        ("qlora_summary", 1.0),
        ("qlora_summary", 1.8),
        ("qlora_summary_fast", 1.0),
        ("qlora_summary_fast", 1.8),
    ]
    assert len({row["full_valid_loss"] for row in table}) == 4
    peaks = []
    for row in table:
        run = (sweep_folder(tmp_path) / row["output"]).resolve()
        metrics = (run / "metrics.jsonl").read_text().splitlines()
        peaks.append(max(json.loads(line).get("learning_rate", 0) for line in metrics))
    assert peaks[1] == pytest.approx(1.8 * peaks[0])
    assert peaks[3] == pytest.approx(1.8 * peaks[2])
