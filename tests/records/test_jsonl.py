"""JSON lines: torn by kills, written by other programs, read all the same."""

from __future__ import annotations

import json
from pathlib import Path

from understudy.records import jsonl
from understudy.records.jsonl import BadLine


def test_an_append_after_a_torn_line_starts_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    jsonl.append(path, {"n": 1})
    with path.open("a") as file:
        file.write('{"n": 2, "te')
    jsonl.append(path, {"n": 3})
    assert jsonl.read_whole(path) == [{"n": 1}, {"n": 3}]
    assert len(path.read_text().splitlines()) == 3


def test_bom_crlf_and_blank_lines_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n\r\n{"n": "\xff"}\r\n[1]\r\n{"n"\r\n{"n": 2}')
    good = [record for record in jsonl.read(path) if not isinstance(record, BadLine)]
    bad = [record for record in jsonl.read(path) if isinstance(record, BadLine)]
    assert good == [{"n": 1}, {"n": 2}]
    assert [(record.line, record.reason.split(" (")[0]) for record in bad] == [
        (3, "not UTF-8"),
        (4, "not a JSON object"),
        (5, "not JSON"),
    ]


def test_written_text_keeps_its_letters(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    jsonl.write(path, [{"text": "naïve 🙂"}])
    assert "naïve 🙂" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "naïve 🙂"}
