"""Chapters and transcripts as others write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.records import chapters, transcript
from understudy.records.item import Chapter, Item, Source

RECORD: dict[str, Any] = {
    "id": "5551722",
    "status": "completed",
    "language_code": "en_us",
    "audio_duration": 12,
    "text": "Where do the bees live? On the roof.",
    "confidence": 0.95,
    "words": [
        {"text": "Where", "start": 250, "end": 650, "confidence": 0.97, "speaker": "A"},
        {"text": "do", "start": 730, "end": 900, "confidence": 0.99, "speaker": "A"},
    ],
    "utterances": [
        {
            "speaker": "A",
            "text": "Where do the bees live?",
            "start": 250,
            "end": 2650,
            "confidence": 0.97,
            "words": [
                {"text": "Where", "start": 250, "end": 650, "confidence": 0.97, "speaker": "A"}
            ],
        },
        {"speaker": "B", "text": "On the roof.", "start": 2900, "end": 4000, "words": []},
    ],
    "chapters": [
        {
            "gist": "Bees",
            "headline": "Where bees live",
            "summary": "A roof.",
            "start": 250,
            "end": 4000,
        }
    ],
}


def test_utterances_are_segments(tmp_path: Path) -> None:
    path = tmp_path / "transcript.json"
    path.write_text(json.dumps(RECORD))
    found = transcript.read(path)
    assert found.language == "en"
    assert [(s.speaker, s.start, s.end) for s in found.segments] == [
        ("A", 0.25, 2.65),
        ("B", 2.9, 4.0),
    ]
    assert found.segments[0].words[0].score == 0.97


def test_without_utterances_the_text_is_one_segment(tmp_path: Path) -> None:
    path = tmp_path / "transcript.json"
    path.write_text(json.dumps({**RECORD, "utterances": None}))
    (segment,) = transcript.read(path).segments
    assert (segment.text, segment.start, segment.end) == (RECORD["text"], 0.25, 0.9)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "error", "error": "no speech"}, "no speech"),
        ({"text": None, "utterances": None}, "no text"),
        ({"utterances": [{"text": "x"}]}, "start"),
    ],
)
def test_an_unfinished_one_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = tmp_path / "transcript.json"
    path.write_text(json.dumps({**RECORD, **change}))
    with pytest.raises(ValueError, match=reason) as caught:
        transcript.read(path)
    assert str(path) in str(caught.value)


def test_chapters_of_every_shape_are_read() -> None:
    expected = [Chapter(start_seconds=0.25, end_seconds=4.0, title="Where bees live")]
    assert chapters.parse(RECORD) == expected
    assert chapters.parse(RECORD["chapters"]) == expected
    ours = {"start_seconds": 0.25, "end_seconds": 4, "title": "Where bees live"}
    downloaded = {"start_time": 0.25, "end_time": 4.0, "title": "Where bees live"}
    assert chapters.parse([ours]) == chapters.parse([downloaded]) == expected


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "x"}, "no list of chapters"),
        ([{"start_seconds": 1, "end_seconds": 2}], "chapter 1: no title"),
        ([{"title": "A"}], "chapter 1: A: no start and end"),
        (["A"], "chapter 1: no title"),
    ],
)
def test_chapters_that_are_none_are_named(record: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        chapters.parse(record)


def test_the_sources_chapters_go_before_those_of_a_file(tmp_path: Path) -> None:
    item = Item(tmp_path)
    item.write_source(Source(title="x"))
    assert chapters.of_item(item) == []
    (tmp_path / "chapters.json").write_text(json.dumps(RECORD["chapters"]))
    assert chapters.of_item(item)[0].title == "Where bees live"
    own = Chapter(start_seconds=0, end_seconds=1, title="Own")
    item.write_source(Source(title="x", chapters=[own]))
    assert chapters.of_item(item) == [own]
    item.write_source(Source(title="x"))
    (tmp_path / "chapters.json").write_text("{")
    with pytest.raises(ValueError, match=r"chapters\.json"):
        chapters.of_item(item)


def test_times_are_written_as_a_clock_shows_them() -> None:
    listed = chapters.listing(
        [
            Chapter(start_seconds=0, end_seconds=245.9, title="A"),
            Chapter(start_seconds=245.9, end_seconds=3845, title="B"),
        ]
    )
    assert listed == "[0:00-4:05] A\n[4:05-1:04:05] B"


def test_where_the_show_begins_and_ends_is_a_number() -> None:
    found = Source.from_json({"title": "x", "start_seconds": 12, "end_seconds": 90.5})
    assert (found.start_seconds, found.end_seconds) == (12, 90.5)
    for wrong in ("12", True):
        with pytest.raises(ValueError, match="start_seconds is no number"):
            Source.from_json({"title": "x", "start_seconds": wrong})
