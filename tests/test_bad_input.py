"""A folder in which much is wrong: each fault is named, the rest goes on, nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

SHOW = Path(__file__).parents[1] / "samples" / "show"
Door = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("01-rooftop-bees", "03-piano-tuner"):
        for kind in ("transcript", "source"):
            shutil.copy(SHOW / f"{name}.{kind}.json", folder)
    shutil.copy(SHOW / "speakers.json", folder)
    (folder / "zero.mp3").touch()
    (folder / "broken.transcript.json").write_text('{"segments": [')
    text = (SHOW / "02-lighthouse-restorer.transcript.json").read_text()
    stranger = text.replace("Maren Tolliver", "Someone Else")
    (folder / "strangers.transcript.json").write_text(stranger)
    _silence(folder / "silence.wav", seconds=5)
    _picture(folder / "picture.mp4")
    return folder


def _silence(path: Path, seconds: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        samples = np.zeros((1, 16_000 * seconds), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def _picture(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        pixels = np.zeros((64, 64, 3), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])


def test_each_fault_is_named_and_the_rest_goes_on(door: Door, folder: Path) -> None:
    arguments = ("corpus=bad", f"source.path={folder}", "split=count", "split.valid_items=1")
    faults = {
        "collect": {"zero": "zero bytes", "broken": "not JSON"},
        "transcribe": {"silence": "no speech", "picture": "no audio stream"},
        "prepare": {
            "silence": "no speech",
            "picture": "no audio stream",
            "strangers": "the host is not heard",
        },
    }
    for _ in range(2):  # the same command again names the same faults
        for stage, named in faults.items():
            done = door(stage, *arguments)
            assert done.returncode == 3, done.stderr
            assert "Traceback" not in done.stderr
            for item, reason in named.items():
                assert any(item in x and reason in x for x in done.stderr.splitlines()), item
    ledger = json.loads((Path(done.stdout.strip()) / "ledger.json").read_text())
    assert set(ledger["items"]) == {"01-rooftop-bees", "03-piano-tuner"}
    assert ledger["words_in"] == ledger["words_trained"]
