"""JSON lines: written whole or appended line by line, read tolerantly."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy import artifacts

LONGEST_LINE = 1 << 24
"""Bytes: 16 MiB, a hundred times the longest episode; what is longer is no line of a text file."""
TOO_LONG = f"longer than {LONGEST_LINE >> 20} MiB"


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
    for _, record in numbered(path):
        yield record


def numbered(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    """Each line's number, counted from 1, and its object, or why it is none.

    No more than `LONGEST_LINE` bytes are held at a time, whatever the file is.
    """
    for number, raw in enumerate(lines(path), start=1):
        if raw is None:
            yield number, BadLine(path=path, line=number, reason=TOO_LONG)
        elif raw.strip():
            record = _parse(raw)
            if isinstance(record, str):
                yield number, BadLine(path=path, line=number, reason=record)
            else:
                yield number, record


def lines(path: Path) -> Iterator[bytes | None]:
    """A file's lines without a BOM, newlines included; None for one above `LONGEST_LINE`."""
    with path.open("rb") as file:
        first = True
        while raw := file.readline(LONGEST_LINE):
            if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
                while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield None
            else:
                yield raw.removeprefix(b"\xef\xbb\xbf") if first else raw
            first = False


def _parse(raw: bytes) -> dict[str, Any] | str:
    """A line's object, or why it is none."""
    try:
        record = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return "not UTF-8"
    except RecursionError:
        return "not JSON that can be read (nested too deeply)"
    except ValueError as error:
        return f"not JSON ({error.msg if isinstance(error, json.JSONDecodeError) else error})"
    if not isinstance(record, dict):
        return "not a JSON object"
    # Half a character, written as an escape: JSON allows it, no text file can hold it.
    if HALF_CHARACTER.search(raw) and not _encodable(record):
        return "half a surrogate pair, which is no character"
    return record


HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


def _encodable(record: object) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_whole(path: Path) -> list[dict[str, Any]]:
    """Every record of a file of ours; an absent file has none. A torn last line is left out."""
    if not path.exists():
        return []
    return [record for record in read(path) if not isinstance(record, BadLine)]
