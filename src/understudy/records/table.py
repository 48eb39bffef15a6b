"""Tables: CSV with a header, read line by line and tolerantly."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy.records import jsonl
from understudy.records.jsonl import BadLine

SEPARATORS = ",;\t"


def numbered(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    """Each record's last line, counted from 1, and the record by the header's names.

    The separator is the one of comma, semicolon and tab that the header has most of. BOM and CRLF
    are read, quoted fields may hold newlines, blank lines are passed over.
    """
    csv.field_size_limit(jsonl.LONGEST_LINE)
    head = next((raw for raw in jsonl.lines(path) if raw and raw.strip()), b"").decode(
        errors="replace"
    )
    separator = max(SEPARATORS, key=head.count)
    too_long: list[int] = []
    reader = csv.reader(_text(path, too_long), delimiter=separator)
    header: list[str] | None = None
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, _bad(path, reader.line_num, f"not CSV ({error})")
            continue
        while too_long:
            yield too_long[0], _bad(path, too_long.pop(0), jsonl.TOO_LONG)
        if fields is None:
            return
        if not fields:
            continue
        if header is None:
            header = [name.strip() for name in fields]
            continue
        yield reader.line_num, _record(path, reader.line_num, header, fields)


def _text(path: Path, too_long: list[int]) -> Iterator[str]:
    for number, raw in enumerate(jsonl.lines(path), start=1):
        if raw is None:
            too_long.append(number)
            yield "\n"
        else:
            yield raw.decode(errors="surrogateescape")


def _record(
    path: Path, line: int, header: list[str], fields: list[str]
) -> dict[str, Any] | BadLine:
    if len(fields) != len(header):
        return _bad(path, line, f"{len(fields)} fields under a header of {len(header)}")
    if not all(value.isascii() or _is_utf8(value) for value in fields):
        return _bad(path, line, "not UTF-8")
    return dict(zip(header, fields, strict=True))


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad(path: Path, line: int, reason: str) -> BadLine:
    return BadLine(path=path, line=line, reason=reason)
