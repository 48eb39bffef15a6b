"""Killed in the middle: the same command does what is missing and nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from understudy.console import Exit
from understudy.records.item import Item

CLIPS = {"a": (6, 14), "b": (14, 22), "c": (21, 29)}
"""Seconds of the phone call."""


FAST = "diarizer=none"
"""Who spoke when does not matter here."""


@pytest.fixture
def corpus(tmp_path: Path, phone: Any, make: Any) -> Path:
    root = tmp_path
    samples = phone.samples()
    for name, (start, end) in CLIPS.items():
        wav = make.wav(root / f"{name}.wav", samples[start * 16_000 : end * 16_000])
        make.item(root / "data" / "demo", name, ("audio.wav", wav))
    return root / "data" / "demo"


def finished(corpus: Path) -> list[str]:
    found = (Item(corpus / name) for name in CLIPS)
    return [item.name for item in found if item.manifest_file("transcribe").exists()]


def transcripts(corpus: Path) -> dict[str, bytes]:
    return {name: (corpus / name / "transcript.json").read_bytes() for name in CLIPS}


def stop_after_first(command: list[str], corpus: Path, how: signal.Signals) -> int:
    with subprocess.Popen(
        command, cwd=corpus.parents[1], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while not finished(corpus) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, how)
        return process.wait(timeout=60)


def test_the_same_command_goes_on_where_it_was_killed(corpus: Path, door: Any) -> None:
    root = corpus.parents[1]
    assert stop_after_first(door.command(FAST), corpus, signal.SIGKILL) == -signal.SIGKILL
    first = finished(corpus)
    assert 1 <= len(first) < len(CLIPS)
    stamps = {name: (corpus / name / "transcript.json").stat().st_mtime_ns for name in first}

    again = door(root, FAST)
    assert again.code == 0
    assert again.out.strip().endswith("data/demo")
    assert finished(corpus) == list(CLIPS)
    for name, stamp in stamps.items():
        assert (corpus / name / "transcript.json").stat().st_mtime_ns == stamp
        assert f"\n{name}: " not in f"\n{again.err}"
    resumed = transcripts(corpus)

    idle = door(root, FAST)
    assert "all 3 done already" in idle.err
    assert idle.seconds < 5
    leftovers = {path.name for name in CLIPS for path in (corpus / name).iterdir()} - {
        "audio.wav",
        "source.json",
        "transcript.json",
        "voices.npz",
        "manifest.collect.json",
        "manifest.transcribe.json",
    }
    assert {name for name in leftovers if not name.startswith(".")} == set()

    whole = door(root, FAST, "fresh=true")
    assert whole.code == 0
    assert transcripts(corpus) == resumed
    assert not list(corpus.glob("*/transcript.*.json"))


def test_sigterm_leaves_it_resumable(corpus: Path, door: Any) -> None:
    assert stop_after_first(door.command(FAST), corpus, signal.SIGTERM) == Exit.STOPPED
    assert 1 <= len(finished(corpus)) < len(CLIPS)
    assert not list(corpus.glob("*/failed.*.json"))
