"""Recordings with truth, corpora as `collect` leaves them, and the stage on them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config import Config
from understudy.door import register_schema, to_config
from understudy.records.item import Item, Source
from understudy.transcribe import audio

SAMPLES = Path(__file__).parents[2] / "samples"
EPISODES = ("13-bell-rope-maker", "14-puppet-mender")
RATE = audio.SAMPLE_RATE


@dataclass(frozen=True)
class Phone:
    """pyannote's sample recording: 30 s of a phone call, overlap included."""

    folder: Path

    @property
    def wav(self) -> Path:
        return self.folder / "sample.wav"

    @property
    def rttm(self) -> Path:
        return self.folder / "sample.rttm"

    @property
    def stm(self) -> Path:
        return self.folder / "sample.stm"

    def samples(self) -> NDArray[np.float32]:
        return audio.decode(self.wav).samples


@pytest.fixture(scope="session")
def phone() -> Phone:
    installed = distribution("pyannote-audio")
    return Phone(Path(str(installed.locate_file("pyannote/audio/sample"))))


class Make:
    """Files and items."""

    @staticmethod
    def wav(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        return path

    @staticmethod
    def mp3(path: Path, seconds: float, hertz: float = 440) -> Path:
        """A tone, 44.1 kHz in stereo."""
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * 44_100)) / 44_100)
        planes = np.stack([tone, tone]).astype(np.float32)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mp3", rate=44_100, layout="stereo")
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
            frame.sample_rate = 44_100
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    @staticmethod
    def film(path: Path) -> Path:
        """Ten black pictures, without sound."""
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for _ in range(10):
                black = np.zeros((64, 64, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
            container.mux(stream.encode())
        return path

    @staticmethod
    def item(corpus: Path, name: str, *files: tuple[str, Path]) -> Item:
        """An item as `collect` leaves it: (name in the item, file to copy)."""
        item = Item(corpus / name)
        item.folder.mkdir(parents=True)
        copies = [Path(shutil.copy(file, item.folder / target)) for target, file in files]
        item.write_source(Source(title=name))
        identity = Identity(stage="collect", format=1, config={}, inputs={"name": name})
        artifacts.seal(item.manifest_file("collect"), identity, [*copies, item.source_file])
        return item


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Config]:
    """The config that `python -m transcribe corpus=demo <overrides>` would compose."""
    from hydra import compose, initialize_config_module

    register_schema()

    def build(*overrides: str, **fields: Any) -> Config:
        with initialize_config_module("understudy.conf", version_base="1.3"):
            node = compose("config", ["corpus=demo", f"root={tmp_path}", *overrides])
        return dataclasses.replace(to_config(node), **fields)

    return build


@dataclass(frozen=True)
class Ran:
    """How a door ended."""

    code: int
    out: str
    err: str
    seconds: float


class Door:
    """`python -m transcribe corpus=demo <overrides>` in a process of its own."""

    def __call__(self, root: Path, *overrides: str) -> Ran:
        started = time.monotonic()
        command = self.command(*overrides)
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=300, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    def command(self, *overrides: str) -> list[str]:
        return [sys.executable, "-m", "transcribe", "corpus=demo", *overrides]


@pytest.fixture(scope="session")
def door() -> Door:
    return Door()


@dataclass(frozen=True)
class Night:
    """One run over good and bad items together."""

    root: Path
    ran: Ran

    @property
    def corpus(self) -> Path:
        return self.root / "data" / "demo"

    def item(self, name: str) -> Item:
        return Item(self.corpus / name)


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory, phone: Phone, door: Door) -> Night:
    """The two sample episodes, the phone call and four items that cannot be transcribed."""
    root = tmp_path_factory.mktemp("night")
    corpus, files = root / "data" / "demo", root / "files"
    files.mkdir()
    (files / "empty.mp3").write_bytes(b"")
    (files / "text.mp3").write_text("I am not audio.\n" * 200, encoding="utf-8")
    silence = Make.wav(files / "silence.wav", np.zeros(5 * RATE, np.float32))
    Make.item(corpus, "bad-empty", ("audio.mp3", files / "empty.mp3"))
    Make.item(corpus, "bad-film", ("video.mp4", Make.film(files / "film.mp4")))
    Make.item(corpus, "bad-silence", ("audio.wav", silence))
    Make.item(corpus, "bad-text", ("audio.mp3", files / "text.mp3"))
    for name in EPISODES:
        Make.item(corpus, name, ("audio.opus", SAMPLES / "show" / f"{name}.opus"))
    Make.item(corpus, "phone", ("audio.wav", phone.wav))
    shutil.copy(SAMPLES / "show" / "speakers.json", corpus)
    return Night(root, door(root))
