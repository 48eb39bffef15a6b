"""A loopback HTTP server with ranges, and a small show to serve and to lay into folders."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.collect.stage import run
from understudy.config import Config
from understudy.config.source import SourceConfig, SourceKind
from understudy.console import UserError
from understudy.door import register_schema, to_config

RATE = 16_000
SLICE_BYTES = 2048


@dataclass
class Answer:
    """What the server says at one path."""

    body: bytes = b""
    kind: str = "audio/mpeg"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    slice_seconds: float = 0.0
    """Pause between slices of 2 KiB: a slow server."""
    validator: bool = True
    """Send an ETag."""
    break_after: int | None = None
    """Close the connection after so many bytes."""
    breaks: int = 0
    """How often; the next answers are whole."""
    then: bytes | None = None
    """What is served after a break: another file, as feeds do that put in advertisements."""


@dataclass
class Site:
    """A server and what it serves, by path."""

    url: str
    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of each GET."""

    def gets(self) -> Counter[str]:
        return Counter(path for path, _ in self.asked)


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:  # noqa: C901  # one small server
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers.get("Range")))
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            answer = site.pages.get(self.path.partition("?")[0])
            if answer is None:
                answer = Answer(b"nothing here", "text/plain", 404)
            tag = f'"{hashlib.sha256(answer.body).hexdigest()[:16]}"'
            start = self._start(answer, tag)
            data = answer.body[start:]
            self.send_response(206 if start else answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Accept-Ranges", "bytes")
            if answer.validator:
                self.send_header("ETag", tag)
            if start:
                whole = len(answer.body)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self._send(answer, data)

        def _start(self, answer: Answer, tag: str) -> int:
            asked = self.headers.get("Range")
            if asked is None or answer.status != 200:
                return 0
            if self.headers.get("If-Range", tag) != tag:
                return 0
            return int(asked.removeprefix("bytes=").partition("-")[0])

        def _send(self, answer: Answer, data: bytes) -> None:
            if answer.break_after is not None and answer.breaks > 0:
                answer.breaks -= 1
                self.wfile.write(data[: answer.break_after])
                self.close_connection = True
                answer.body = answer.then or answer.body
                return
            step = SLICE_BYTES if answer.slice_seconds else len(data) or 1
            try:
                for at in range(0, len(data), step):
                    self.wfile.write(data[at : at + step])
                    time.sleep(answer.slice_seconds)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    """A server on a free loopback port; it serves what a test puts into `pages`."""
    site = Site(url="")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def tone(seconds: float, hertz: float, container: str = "mp3", codec: str = "mp3") -> bytes:
    import av

    samples = np.arange(int(seconds * RATE)) / RATE
    wave = (np.sin(samples * hertz * 2 * np.pi) * 12_000).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=RATE)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def tones() -> tuple[bytes, bytes]:
    """Two different real mp3 files of 2 s."""
    return tone(2, 440), tone(2, 660)


def entry(title: str, guid: str, address: str | None, extra: str = "") -> str:
    enclosure = f'<enclosure url="{address}" type="audio/mpeg" length="1"/>' if address else ""
    return f"<item><title>{title}</title><guid>{guid}</guid>{enclosure}{extra}</item>"


def rss(*entries: str, head: str = "") -> Answer:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd">'
        f"<channel><title>The Long Bench</title><language>en-GB</language>{head}"
        f"{''.join(entries)}</channel></rss>"
    )
    return Answer(text.encode(), "application/rss+xml")


@pytest.fixture
def make_rss() -> Callable[..., Answer]:
    return rss


@pytest.fixture
def make_entry() -> Callable[..., str]:
    return entry


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@dataclass(frozen=True)
class Door:
    """`python -m collect` as a person runs it."""

    folder: Path

    def command(self, *overrides: str) -> list[str]:
        return [sys.executable, "-m", "collect", *overrides]

    def __call__(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*overrides),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@pytest.fixture(scope="session")
def base_config() -> Config:
    """The composed config, as the door hands it to the stage."""
    from hydra import compose, initialize_config_module

    register_schema()
    with initialize_config_module("understudy.conf", version_base="1.3"):
        return to_config(compose("config", overrides=["corpus=bench"]))


@dataclass(frozen=True)
class Room:
    """The stage in this process: the same overrides, without the start of a Python."""

    folder: Path
    base: Config
    capture: pytest.CaptureFixture[str]

    def __call__(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        values = dict(override.split("=", 1) for override in overrides)
        assert values.pop("corpus") == "bench"
        path, first = values.pop("source.path", None), values.pop("source.first", None)
        source = SourceConfig(
            kind=SourceKind[values.pop("source")],
            path=Path(path) if path else None,
            url=values.pop("source.url", None),
            first=int(first) if first else None,
            allow_loopback=values.pop("source.allow_loopback", "false") == "true",
        )
        fresh = values.pop("fresh", "false") == "true"
        assert not values
        config = dataclasses.replace(self.base, source=source, fresh=fresh)
        try:
            outcome = run(config)
            code, made = int(outcome.code), f"{outcome.path}\n"
        except UserError as error:
            code, made = 2, ""
            print(error, file=sys.stderr)  # noqa: T201
        return subprocess.CompletedProcess([], code, made, self.capture.readouterr().err)


@pytest.fixture
def room(
    tmp_path: Path,
    base_config: Config,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Room:
    monkeypatch.chdir(tmp_path)
    return Room(tmp_path, base_config, capsys)
