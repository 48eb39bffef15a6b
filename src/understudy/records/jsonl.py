"""JSON lines: written whole or appended line by line, read tolerantly."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy import artifacts


@dataclass(frozen=True, kw_only=True, slots=True)
class BadLine:
    """A line that is not a JSON object."""

    path: Path
    line: int
    """Counted from 1."""
    reason: str


def line(record: object) -> str:
    """One record as one line, newline included."""
    return json.dumps(artifacts.plain(record), ensure_ascii=False) + "\n"


def write(path: Path, records: Iterable[object]) -> None:
    """Write all records, atomically."""
    artifacts.write_atomic(path, "".join(line(record) for record in records))


def append(path: Path, record: object) -> None:
    """Append one record and flush it to disk; a line left torn by a kill is closed first."""
    raw = line(record).encode()
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                raw = b"\n" + raw
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Iterator[dict[str, Any] | BadLine]:
    """Each line's object, or why it is none. Blank lines are passed over; BOM and CRLF are read."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except UnicodeDecodeError:
                yield BadLine(path=path, line=number, reason="not UTF-8")
                continue
            except json.JSONDecodeError as error:
                yield BadLine(path=path, line=number, reason=f"not JSON ({error.msg})")
                continue
            if not isinstance(record, dict):
                yield BadLine(path=path, line=number, reason="not a JSON object")
                continue
            yield record


def read_whole(path: Path) -> list[dict[str, Any]]:
    """Every record of a file of ours; an absent file has none. A torn last line is left out."""
    if not path.exists():
        return []
    return [record for record in read(path) if not isinstance(record, BadLine)]
