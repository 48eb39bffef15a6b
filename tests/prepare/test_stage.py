"""Prepare as a person runs it: every word accounted for, every bad item named."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.records import rows as records

Door = Callable[..., Any]
SHOW = Path(__file__).parents[2] / "samples" / "show"


@pytest.fixture
def show(tmp_path: Path) -> Path:
    """The transcripts of the sample show, as collected."""
    folder = tmp_path / "data" / "show"
    for file in SHOW.glob("*.transcript.json"):
        name = file.name.removesuffix(".transcript.json")
        item = folder / name
        item.mkdir(parents=True)
        shutil.copy(file, item / "transcript.json")
        shutil.copy(SHOW / f"{name}.source.json", item / "source.json")
        (item / "manifest.collect.json").write_text("{}")
    shutil.copy(SHOW / "speakers.json", folder / "speakers.json")
    return folder


ARGUMENTS = ("corpus=show", "split=count", "model.context=512")


def words(show: Path) -> int:
    """An independent count of what was said."""
    transcripts = (json.loads(path.read_text()) for path in show.glob("*/transcript.json"))
    return sum(len(s["text"].split()) for record in transcripts for s in record["segments"])


def test_the_sample_show_is_prepared_to_the_last_word(door: Door, show: Path) -> None:
    done = door("prepare", *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    ledger = json.loads((folder / "ledger.json").read_text())
    train, valid = (records.read(folder / f"{side}.jsonl") for side in ("train", "valid"))
    assert ledger["words_in"] == words(show) > 12_000
    placed = ledger["words_trained"] + ledger["words_context"]
    assert placed + sum(ledger["words_dropped"].values()) == ledger["words_in"]
    assert sum(row.words for row in train + valid) == placed
    for row in train + valid:
        roles = [message.role for message in row.messages if message.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
        assert row.meta.speakers["user"] == "Maren Tolliver"
        assert row.meta.licence == "CC-BY-4.0"
        assert all(m.weight == (m.role != "system") for m in row.messages)
    held = {row.meta.item for row in valid}
    assert len(held) == 2
    assert not held & {row.meta.item for row in train}
    assert door("prepare", *ARGUMENTS).stdout == done.stdout


def test_rows_fit_the_context_by_the_templates_own_count(door: Door, show: Path) -> None:
    from transformers import AutoTokenizer

    from understudy.models import embedded

    assert show.exists()
    folder = Path(door("prepare", *ARGUMENTS).stdout.strip())
    tokenizer = AutoTokenizer.from_pretrained(embedded.folder("smollm2_135m"))
    ledger = json.loads((folder / "ledger.json").read_text())
    total = 0
    for row in records.read(folder / "train.jsonl") + records.read(folder / "valid.jsonl"):
        messages = [{"role": m.role, "content": m.content} for m in row.messages]
        count = len(tokenizer.apply_chat_template(messages, tokenize=True)["input_ids"])
        assert count <= 512
        total += count
    assert total == ledger["tokens"]["trained"] + ledger["tokens"]["context"]


def test_bad_items_are_named_and_the_others_go_on(door: Door, show: Path) -> None:
    items = sorted(path.parent for path in show.glob("*/transcript.json"))
    (items[0] / "transcript.json").write_text("{ not json")
    record = json.loads((items[1] / "transcript.json").read_text())
    for segment in record["segments"]:
        if segment["speaker"] == "Maren Tolliver":
            segment["speaker"] = "SPEAKER_07"
    (items[1] / "transcript.json").write_text(json.dumps(record))
    (items[2] / "transcript.json").write_bytes(b"\xff\xfe\x00")
    (items[3] / "transcript.json").unlink()
    failure = {"stage": "transcribe", "reason": "no speech was found"}
    (items[3] / "failed.transcribe.json").write_text(json.dumps(failure))
    done = door("prepare", *ARGUMENTS)
    assert done.returncode == 3, done.stderr
    folder = Path(done.stdout.strip())
    rejected = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    reasons = {entry["source"]: entry["reason"] for entry in rejected}
    assert set(reasons) == {item.name for item in items[:4]}
    assert "not JSON" in reasons[items[0].name]
    assert "transcript.json" in reasons[items[0].name]
    assert "the host is not heard" in reasons[items[1].name]
    assert "SPEAKER_07" in reasons[items[1].name]
    assert "not UTF-8" in reasons[items[2].name]
    assert "no speech was found" in reasons[items[3].name]
    for name in reasons:
        assert name in done.stderr
    ledger = json.loads((folder / "ledger.json").read_text())
    assert len(ledger["items"]) == 8
    again = door("prepare", *ARGUMENTS)
    assert (again.returncode, again.stdout) == (3, done.stdout)


def test_a_turn_longer_than_the_context_is_cut_and_marked_and_none_of_it_is_lost(
    door: Door, show: Path
) -> None:
    item = min(path.parent for path in show.glob("*/transcript.json"))
    record = json.loads((item / "transcript.json").read_text())
    monologue = " ".join(f"Sentence {number} of a long answer." for number in range(150))
    guest = next(s["speaker"] for s in record["segments"] if s["speaker"] != "Maren Tolliver")
    record["segments"].append({"text": "Do go on.", "speaker": "Maren Tolliver", "words": []})
    record["segments"].append({"text": monologue, "speaker": guest, "words": []})
    (item / "transcript.json").write_text(json.dumps(record))
    done = door("prepare", *ARGUMENTS, "split.valid_items=0")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["words_in"] == words(show)
    assert ledger["notes"]["rows that hold a part of a turn"] > 1
    rows = [row for row in records.read(folder / "train.jsonl") if row.meta.cut == "turn"]
    answers = [row.messages[-1] for row in rows]
    assert all(message.weight == 1 for message in answers)
    assert all(message.content.endswith("of a long answer.") for message in answers)
    assert " ".join(message.content for message in answers) == monologue


def test_a_changed_transcript_makes_another_set(door: Door, show: Path) -> None:
    first = door("prepare", *ARGUMENTS)
    item = min(path.parent for path in show.glob("*/transcript.json"))
    text = (item / "transcript.json").read_text()
    (item / "transcript.json").write_text(text.replace("bees", "wasps", 1))
    second = door("prepare", *ARGUMENTS)
    assert second.returncode == 0
    assert second.stdout != first.stdout


def test_a_set_that_was_changed_by_hand_is_not_overwritten_unasked(door: Door, show: Path) -> None:
    assert show.is_dir()
    folder = Path(door("prepare", *ARGUMENTS).stdout.strip())
    rows = folder / "train.jsonl"
    made = rows.read_bytes()
    rows.write_bytes(made.replace(b"bees", b"wasps", 1))
    refused = door("prepare", *ARGUMENTS)
    assert refused.returncode == 2
    assert "was changed after it was made" in refused.stderr
    assert "fresh=true" in refused.stderr
    assert b"wasps" in rows.read_bytes()
    assert door("prepare", *ARGUMENTS, "fresh=true").returncode == 0
    assert rows.read_bytes() == made


def test_killed_in_the_middle_nothing_half_made_is_taken_for_done(
    door: Door, start: Callable[..., Any], show: Path
) -> None:
    calm = Path(door("prepare", *ARGUMENTS).stdout.strip())
    expected = {path.name: path.read_bytes() for path in calm.glob("*.json*")}
    for delay in (0.0, 0.02, 0.05):
        shutil.rmtree(calm)
        process = start("prepare", *ARGUMENTS)
        while process.running and not (calm / ".lock").exists():
            time.sleep(0.001)
        time.sleep(delay)
        process.send(signal.SIGKILL)
        process.wait()
        again = door("prepare", *ARGUMENTS)
        assert again.returncode == 0, again.stderr
        assert {path.name: path.read_bytes() for path in calm.glob("*.json*")} == expected
    assert show.exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["corpus=nowhere"], ["no corpus nowhere", "python -m collect"]),
        (["corpus=show", "task=tags"], ["task=tags reads rows", "task.rows=<file>"]),
        (["corpus=show", "task.rows=x.jsonl"], ["task.rows=x.jsonl", "items of a corpus only"]),
        (["corpus=x", "task=tags", "task.rows=x.xls"], ["task.rows=x.xls", ".jsonl", ".csv"]),
        (["corpus=x", "task=tags", "task.rows=x.csv"], ["task.rows=x.csv", "no such file"]),
        (["corpus=x", "corpora={show: 1, nowhere: 2}"], ["no corpus nowhere"]),
        (["corpus=show", "model.dialect=klingon"], ["model.dialect=klingon", "chatml"]),
        (["corpus=show", "model.base=/no/such"], ["model.base=/no/such", "config.json"]),
        (["corpus=show", "split=count", "split.valid_items=12"], ["split.valid_items=12"]),
        (
            ["corpus=show", "model.context=40"],
            ["100.0% of the words", "max_dropped_share=0.05", "system message"],
        ),
    ],
)
def test_what_cannot_be_prepared_is_said_in_words(
    door: Door, show: Path, overrides: list[str], words: list[str]
) -> None:
    assert show.exists()
    done = door("prepare", *overrides)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
