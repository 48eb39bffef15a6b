"""Killed in the middle: the same command goes on, and nothing finished is fetched again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.artifacts import damage, read_manifest
from understudy.records.item import items

PATIENCE_SECONDS = 30


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@pytest.fixture
def slow(site: Any, answer: Any, make_rss: Any, make_entry: Any, tones: Any) -> Any:
    """A feed whose first episode comes at once and whose second takes seconds."""
    site.pages["/fast.mp3"] = answer(tones[0])
    site.pages["/slow.mp3"] = answer(tones[1] * 8, slice_seconds=0.06)
    site.pages["/feed"] = make_rss(
        make_entry("Fast", "1", f"{site.url}/fast.mp3"),
        make_entry("Slow", "2", f"{site.url}/slow.mp3"),
    )
    return site


def overrides(site: Any) -> list[str]:
    url = f"source.url={site.url}/feed"
    return ["source=feed", url, "source.allow_loopback=true", "corpus=bench"]


def stop_midway(door: Any, site: Any, how: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Run until the second episode has a part on disk, then stop it."""
    started = subprocess.Popen(
        door.command(*overrides(site)),
        cwd=door.folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    corpus = door.folder / "data/bench"
    parts = lambda: [f for f in corpus.glob("Slow-*/audio.mp3.part") if f.stat().st_size]  # noqa: E731
    wait_for(lambda: bool(parts()) or started.poll() is not None)
    started.send_signal(how)
    out, said = started.communicate(timeout=PATIENCE_SECONDS)
    return subprocess.CompletedProcess(started.args, started.returncode, out, said)


def test_kill_and_go_on(slow: Any, door: Any, tmp_path: Path, tones: Any) -> None:
    killed = stop_midway(door, slow, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert [item.source().title for item in items(tmp_path / "data/bench")] == ["Fast"]
    slow.pages["/slow.mp3"].slice_seconds = 0
    slow.asked.clear()
    done = door(*overrides(slow))
    assert done.returncode == 0, done.stderr
    assert "1 new, 1 there already" in done.stderr
    ranges = [asked for path, asked in slow.asked if path == "/slow.mp3"]
    assert len(ranges) == 1
    assert str(ranges[0]).startswith("bytes=")
    assert ranges[0] != "bytes=0-"
    assert slow.gets() == {"/feed": 1, "/slow.mp3": 1}
    found = items(tmp_path / "data/bench")
    media = [item.media_file.read_bytes() for item in found if item.media_file]
    assert media == [tones[0], tones[1] * 8]
    for item in found:
        path = item.manifest_file("collect")
        manifest = read_manifest(path)
        assert manifest is not None
        assert damage(path, manifest) is None
    assert not list((tmp_path / "data").rglob("*.part"))


def test_a_part_of_another_file_is_not_gone_on_with(
    slow: Any, door: Any, tmp_path: Path, tones: Any
) -> None:
    stop_midway(door, slow, signal.SIGKILL)
    other = b"ID3" + tones[0] + tones[1]
    slow.pages["/slow.mp3"].body = other
    slow.pages["/slow.mp3"].slice_seconds = 0
    assert door(*overrides(slow)).returncode == 0
    media = {item.source().title: item.media_file for item in items(tmp_path / "data/bench")}
    assert media["Slow"].read_bytes() == other  # type: ignore[union-attr]


def test_sigterm_is_a_stop(slow: Any, door: Any) -> None:
    stopped = stop_midway(door, slow, signal.SIGTERM)
    assert (stopped.returncode, stopped.stdout) == (75, "")
    assert "the same command goes on from here" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_kill_while_copying(door: Any, tmp_path: Path) -> None:
    show = tmp_path / "show"
    show.mkdir()
    for number in range(120):
        (show / f"{number:03}.wav").write_bytes(b"RIFF" + bytes([number]) * 300_000)
    command = door.command("source=folder", "source.path=show", "corpus=bench")
    started = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    corpus = tmp_path / "data/bench"
    wait_for(lambda: len(items(corpus)) >= 3)
    started.kill()
    started.wait()
    finished = items(corpus)
    assert len(finished) < 120
    before = {item.name: item.manifest_file("collect").stat().st_mtime_ns for item in finished}
    done = door("source=folder", "source.path=show", "corpus=bench")
    assert done.returncode == 0
    assert f"{120 - len(finished)} new, {len(finished)} there already" in done.stderr
    after = {item.name: item.manifest_file("collect").stat().st_mtime_ns for item in items(corpus)}
    assert len(after) == 120
    assert {name: after[name] for name in before} == before
    for item in items(corpus):
        assert item.media_file is not None
        assert item.media_file.read_bytes() == (show / f"{item.name}.wav").read_bytes()
