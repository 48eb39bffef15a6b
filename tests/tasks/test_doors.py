"""Every task as a person meets it: `python -m prepare task=...` on small sources of its kind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.records import rows as records

Door = Callable[..., Any]

WORDS = ["bees", "roof", "honey", "winter", "hive", "keeper", "queen", "spring"]
SUMMARY = {"summary": "A keeper talks.", "key_points": ["Bees like height"], "tags": ["bees"]}


def sentence(number: int) -> str:
    turned = WORDS[number % 8 :] + WORDS[: number % 8]
    return f"Number {number} says {' '.join(turned)}."


def videos(folder: Path) -> None:
    for number in range(4):
        item = folder / "data" / "show" / f"video-{number}"
        item.mkdir(parents=True)
        source = {"title": f"Video {number}", "category": ("nature", "craft")[number % 2]}
        (item / "source.json").write_text(json.dumps(source))
        (item / "manifest.collect.json").write_text("{}")
        text = " ".join(sentence(number * 40 + at) for at in range(40))
        (item / "transcript.json").write_text(json.dumps({"segments": [{"text": text}]}))
        cue = f"WEBVTT\n\n00:00.000 --> 01:00.000\n{text}\n"
        (item / "subtitles.en.vtt").write_text(cue)
        viewer = {"text": f"@ann I like what you say about {WORDS[number]}", "like_count": number}
        other = {"text": f"Nobody had told me that {WORDS[-number - 1]} matter", "like_count": 1}
        lines = [json.dumps(viewer), json.dumps(other)]
        (item / "comments.jsonl").write_text("\n".join(lines))
        (item / "target.summary.json").write_text(json.dumps(SUMMARY))


def jsonl(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))


def table(folder: Path, lines: list[dict[str, str]]) -> None:
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def tagged(folder: Path) -> None:
    pairs = (
        {"description": sentence(n), "tags": f"{WORDS[n]}, {WORDS[(n + 3) % 8]}"} for n in range(8)
    )
    table(folder, list(pairs))


def articles(folder: Path) -> None:
    jsonl(
        folder,
        [
            {
                "title": f"About {word}",
                "core_keyword": word,
                "related_keywords": WORDS[:3],
                "article": f"<h2>{word}</h2><p>{sentence(n)}</p>",
            }
            for n, word in enumerate(WORDS[:8])
        ],
    )


def chats(folder: Path) -> None:
    for name, first in (("rows", 0), ("valid", 100)):
        lines = [
            {
                "messages": [
                    {"role": "user", "content": sentence(first + n)},
                    {"role": "assistant", "content": "No.", "weight": 0},
                    {"role": "user", "content": "And then?"},
                    {"role": "assistant", "content": sentence(first + n + 50)},
                ]
            }
            for n in range(6 if name == "rows" else 2)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))


KINDS: dict[str, tuple[Callable[[Path], None], list[str], int]] = {
    "comment": (videos, [], 8),
    "summary": (videos, ["task.form=json"], 4),
    "tags": (tagged, ["task.rows=rows.csv"], 8),
    "blog": (articles, ["task.rows=rows.jsonl"], 8),
    "messages": (chats, ["task.rows=rows.jsonl", "task.valid_rows=valid.jsonl"], 8),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_source_becomes_rows_that_add_up(
    door: Door, tmp_path: Path, name: str
) -> None:
    lay_out, arguments, count = KINDS[name]
    lay_out(tmp_path)
    done = door("prepare", "corpus=show", f"task={name}", "model.context=256", *arguments)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    train, valid = (records.read(folder / f"{side}.jsonl") for side in ("train", "valid"))
    assert len(train) + len(valid) == count
    assert valid
    ledger = json.loads((folder / "ledger.json").read_text())
    placed = ledger["words_trained"] + ledger["words_context"]
    assert placed + sum(ledger["words_dropped"].values()) == ledger["words_in"]
    assert sum(row.words for row in train + valid) == placed
    for row in train + valid:
        assert row.messages[-1].role == "assistant"
        assert row.messages[-1].weight == 1
    if name in ("comment", "summary"):
        # Forty sentences are longer than the context: the input gave way, the target did not.
        assert ledger["words_dropped"]["window"] > 0
        assert {row.meta.category for row in train + valid} == {"nature", "craft"}
    if name == "comment":
        texts = (folder / "train.jsonl").read_text() + (folder / "valid.jsonl").read_text()
        assert "@ann" not in texts
        assert "@viewer1 I like what you say about bees" in texts
    if name == "summary":
        assert all(json.loads(row.messages[-1].content) == SUMMARY for row in train + valid)
    if name == "messages":
        assert {row.meta.item.split(":")[0] for row in valid} == {"valid"}
        assert [m.weight for m in train[0].messages] == [0, 0, 0, 1]


def test_a_task_that_reads_rows_asks_for_them(door: Door, tmp_path: Path) -> None:
    videos(tmp_path)
    done = door("prepare", "corpus=show", "task=blog")
    assert done.returncode == 2
    assert "task.rows=<file>" in done.stderr


def test_policies_are_named_when_one_is_mistyped(door: Door) -> None:
    done = door("prepare", "corpus=show", "task.ads=burn")
    assert done.returncode == 2
    assert "task.ads=burn is not known: choose one of keep, context, drop" in done.stderr
