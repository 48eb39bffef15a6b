"""A file as it is now, with its SHA-256: hashed once, and again only when size or time changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from understudy import artifacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What a file looked like when it was hashed."""

    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, file: Path, known: Stamp | None) -> Stamp:
        """The file's stamp; the known one where size and time are the same."""
        stat = file.stat()
        if known and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return known
        return cls(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=artifacts.sha256_file(file))


def copy(file: Path, target: Path) -> None:
    """Copy a file's bytes: `target` is the old file or the whole new one, never a part."""
    descriptor, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name}.", suffix=".part"
    )
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out, file.open("rb") as opened:
            shutil.copyfileobj(opened, out, artifacts.CHUNK_BYTES)
        temporary.chmod(0o644)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
