"""Files of rows: streamed, each bad line named, mixed, balanced, freed of duplicates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.records import jsonl, table
from understudy.records import rows as records

Door = Callable[..., Any]
BASE = ("task=messages", "corpus=chats")


def chat(question: str, answer: str, **more: object) -> dict[str, object]:
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    return {"messages": messages, **more}


def write(path: Path, lines: list[object]) -> Path:
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


BAD: list[object] = [
    b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    b"{ not json",
    b"null",
    b"[1, 2]",
    {"messages": []},
    {"messages": None},
    chat("Who?", "Me.") | {"messages": [{"role": "pirate", "content": "Arr."}]},
    {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant"}]},
    {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": None}]},
    {
        "messages": [
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Ho.", "weight": 2},
        ]
    },
]


def test_ten_thousand_good_rows_and_fifty_bad_ones(door: Door, tmp_path: Path) -> None:
    good: list[object] = [chat(f"What is {n}?", f"It is number {n}.") for n in range(10_000)]
    lines = list(good)
    for number, bad in enumerate(BAD * 5):
        lines.insert(number * 199, bad)
    path = write(tmp_path / "chats.jsonl", lines)
    places = {n for n, line in enumerate(lines, start=1) if any(line is bad for bad in BAD)}
    assert len(places) == 50
    done = door("prepare", *BASE, f"task.rows={path}")
    assert done.returncode == 3, done.stderr
    folder = Path(done.stdout.strip())
    sides = [(folder / f"{side}.jsonl").read_text().splitlines() for side in ("train", "valid")]
    assert [len(side) for side in sides] == [9_500, 500]
    rejected = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    assert {entry["line"] for entry in rejected} == places
    assert {entry["source"] for entry in rejected} == {"chats.jsonl"}
    assert all(len(entry["reason"]) > 5 for entry in rejected)
    assert rejected[0]["reason"] == "not UTF-8"
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["words_in"] == 10_000 * 7 == ledger["words_trained"] + ledger["words_context"]
    assert "30 more are left out" in done.stderr


def test_bom_crlf_and_a_line_of_fifty_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.write(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"b": "')
        for _ in range(50):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\r\n{"c": 3}')
    found = list(jsonl.numbered(path))
    assert [number for number, _ in found] == [1, 3, 4]
    assert [found[0][1], found[2][1]] == [{"a": 1}, {"c": 3}]
    assert isinstance(found[1][1], jsonl.BadLine)
    assert found[1][1].reason == "longer than 16 MiB"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": "\\ud83d"}', "surrogate"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_lines_that_break_readers_are_named(tmp_path: Path, raw: bytes, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(raw + b'\n{"b": 2}\n')
    bad, good = jsonl.read(path)
    assert isinstance(bad, jsonl.BadLine)
    assert reason in bad.reason
    assert good == {"b": 2}


def test_tables_are_read_with_their_separator_and_bad_lines_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(
        b'\xef\xbb\xbfdescription;tags\r\n"A boat,\r\nblue";sea, boat\r\n'
        b"\r\nx;y;z\r\n\xff;no\r\nb;c"
    )
    found = list(table.numbered(path))
    assert found[0] == (3, {"description": "A boat,\r\nblue", "tags": "sea, boat"})
    assert [record.reason for _, record in found[1:3]] == [  # type: ignore[union-attr]
        "3 fields under a header of 2",
        "not UTF-8",
    ]
    assert found[3] == (7, {"description": "b", "tags": "c"})


def test_a_validation_file_is_held_out_whole(door: Door, tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [chat(f"Q {n}?", f"A {n}.") for n in range(20)])
    valid = write(tmp_path / "b.jsonl", [chat(f"Other {n}?", f"B {n}.") for n in range(3)])
    done = door("prepare", *BASE, f"task.rows={train}", f"task.valid_rows={valid}")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    held = records.read(folder / "valid.jsonl")
    assert [row.meta.item for row in held] == ["b:1", "b:2", "b:3"]
    assert len(records.read(folder / "train.jsonl")) == 20


def test_duplicates_across_the_split_are_reported_or_removed(door: Door, tmp_path: Path) -> None:
    long = [f"word{n} of {n * 7}" for n in range(60)]
    twin = " ".join(long)
    near = " ".join([*long[:59], "changed"])
    lines = [chat(f"What about {n * n}?", f"Nothing {n}.") for n in range(60)]
    train = write(tmp_path / "a.jsonl", [*lines, chat("Say", twin), chat("Say", near)])
    valid = write(tmp_path / "b.jsonl", [chat("say ", twin)])
    rows = (f"task.rows={train}", f"task.valid_rows={valid}")
    done = door("prepare", *BASE, *rows)
    report = json.loads((Path(done.stdout.strip()) / "diversity.json").read_text())
    assert report["duplicates"]["across_split"] == {"exact": 1, "near": 1, "removed": False}
    assert "split.duplicates=remove" in done.stderr
    done = door("prepare", *BASE, *rows, "split.duplicates=remove")
    folder = Path(done.stdout.strip())
    assert len(records.read(folder / "train.jsonl")) == 60
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["asked"] == {
        "the same as a held-out row, or nearly": len(f"say {twin} say {near}".split())
    }
    assert ledger["unasked"] == {}


def test_categories_are_evened_out_and_every_word_stays_accounted_for(
    door: Door, tmp_path: Path
) -> None:
    lines = [
        chat(f"Q {n}?", f"A {n}.", category="rare" if n % 10 == 0 else "common") for n in range(100)
    ]
    path = write(tmp_path / "a.jsonl", lines)
    arguments = (*BASE, f"task.rows={path}", "split.valid_share=0", "split.balance=category")
    done = door("prepare", *arguments)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    rows = records.read(folder / "train.jsonl")
    assert Counter(row.meta.category for row in rows) == {"common": 50, "rare": 40}
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["words_in"] == 400
    assert ledger["words_dropped"] == {
        "left out to keep the weights of corpora, categories or creators": 160
    }
    assert ledger["notes"]["rows repeated to keep the weights"] == 30
    assert ledger["words_trained"] + ledger["words_context"] == 240


def test_two_corpora_are_mixed_by_weight(door: Door, corpus: Callable[..., Path]) -> None:
    corpus("one", items=4, turns=8)
    corpus("two", items=4, turns=8)
    arguments = ("corpus=both", "corpora={one: 3, two: 1}", "split.valid_share=0")
    done = door("prepare", *arguments, "model.context=128")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    rows = records.read(folder / "train.jsonl")
    drawn = Counter(row.meta.corpus for row in rows)
    assert drawn["one"] == 3 * drawn["two"]
    ledger = json.loads((folder / "ledger.json").read_text())
    assert sorted(ledger["items"]) == [f"{c}/episode-{n}" for c in ("one", "two") for n in range(4)]
    distinct = {row.messages for row in rows if row.meta.corpus == "one"}
    assert len(distinct) < drawn["one"]


def test_too_much_lost_unasked_is_refused_with_its_reasons(door: Door, tmp_path: Path) -> None:
    lines = [chat(f"Q {n}?", "A.") for n in range(30)] + [chat("Q?", "x" * 20_000 + " y")]
    path = write(tmp_path / "a.jsonl", lines)
    arguments = (*BASE, f"task.rows={path}", "split.valid_share=0", "max_dropped_share=0.005")
    done = door("prepare", *arguments)
    assert done.returncode == 2, done.stderr
    assert "a word longer than the context" in done.stderr
    assert "max_dropped_share=0.005" in done.stderr
    assert door("prepare", *arguments[:-1]).returncode == 0
    assert door("prepare", *arguments).returncode == 2
