"""Identity, manifests, resuming: what is finished, and what it was made from.

A thing's identity covers the config nodes its stage reads, the identities of its inputs and the
stage's format number, and nothing else. Its manifest is written last and atomically: no valid
manifest, not finished.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from understudy.console import UserError, say

CHUNK_BYTES = 1 << 20


def plain(value: object) -> object:
    """Dataclasses, enums and paths as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    assert value is None or isinstance(value, (str, int, float, bool)), type(value)
    return value


def record(value: object) -> dict[str, Any]:
    """A dataclass or mapping as a plain JSON object."""
    mapping = plain(value)
    assert isinstance(mapping, dict), type(value)
    return mapping


def fingerprint(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def sha256_cached(path: Path) -> str:
    """SHA-256 of a large file, remembered by path, size and time of change, per user."""
    from platformdirs import user_cache_path

    entry = path.stat()
    key = hashlib.sha256(f"{path.resolve()}|{entry.st_size}|{entry.st_mtime_ns}".encode())
    note = user_cache_path("understudy") / "digests" / key.hexdigest()
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(note, sha256_file(path))
    return note.read_text(encoding="ascii")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data` in one step: a reader sees the old bytes or the new ones."""
    raw = data.encode() if isinstance(data, str) else data
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write a value as readable JSON, atomically."""
    write_atomic(path, json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a thing is made from. Equal identities: the same thing, no need to make it again."""

    stage: str
    format: int
    """Raised by hand when the stage's output changes its meaning."""
    config: Mapping[str, object]
    """The config nodes the stage reads, by name."""
    inputs: Mapping[str, str]
    """Identities of what goes in, by name: SHA-256 of files, hashes of folders, hub revisions."""

    @property
    def hash(self) -> str:
        """64 hex digits over stage, format, config and inputs."""
        return fingerprint(self)

    def folder(self, runs: Path, name: str) -> Path:
        """`<runs>/<stage>/<name>-<hash8>`."""
        return runs / self.stage / f"{name}-{self.hash[:8]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """A file as its manifest knows it."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The last thing written for a finished unit: what it is and which files belong to it."""

    identity: Identity
    files: Mapping[str, FileEntry]
    """By path relative to the manifest's folder."""


def seal(path: Path, identity: Identity, files: Iterable[Path]) -> Manifest:
    """Flush `files` to disk, then write the manifest at `path`: from here on the unit is finished.

    Args:
        path: Where the manifest goes.
        identity: What the unit was made from.
        files: Everything that belongs to the unit, below the manifest's folder.
    """
    entries = {}
    for file in sorted(files):
        _flush_file(file)
        name = file.relative_to(path.parent).as_posix()
        entries[name] = FileEntry(bytes=file.stat().st_size, sha256=sha256_file(file))
    manifest = Manifest(identity=identity, files=entries)
    write_json(path, {"hash": identity.hash, **record(manifest)})
    return manifest


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`; None if it is missing or not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        identity = Identity(**found["identity"])
        files = {name: FileEntry(**entry) for name, entry in found["files"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Manifest(identity=identity, files=files)


def damage(path: Path, manifest: Manifest) -> str | None:
    """The first file that is not as the manifest at `path` says, with the reason; None if whole."""
    for name, entry in manifest.files.items():
        file = path.parent / name
        if not file.is_file():
            return f"{file} is missing"
        if file.stat().st_size != entry.bytes:
            return f"{file} has {file.stat().st_size:,} bytes instead of {entry.bytes:,}"
        if sha256_file(file) != entry.sha256:
            return f"{file} does not match its SHA-256"
    return None


def is_done(path: Path, identity: Identity) -> bool:
    """Whether the manifest at `path` is of this identity and every file in it is whole."""
    manifest = read_manifest(path)
    if manifest is None or manifest.identity.hash != identity.hash:
        return False
    return damage(path, manifest) is None


@contextmanager
def exclusive(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process, so that two of the same command do not write over each other.

    Args:
        folder: Made if it is not there.
        wait: Wait for another holder instead of refusing.

    Raises:
        UserError: another process holds it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            raise UserError(
                f"{folder} is being made by another process: wait for it, or stop it first."
            ) from None
        say(f"waiting for another process, which is making {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def clear(folder: Path) -> None:
    """Empty `folder`, the manifest first, so that a kill leaves nothing half-valid."""
    (folder / "manifest.json").unlink(missing_ok=True)
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.name == ".lock":
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
