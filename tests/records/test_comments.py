"""Viewer comments: what they wrote, not who."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.records import comments, language
from understudy.records.comments import Names
from understudy.records.likeness import shingles, similarity


def written(folder: Path, *records: Any) -> Path:
    path = folder / "comments.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_neither_handles_nor_names_nor_addresses_are_left(tmp_path: Path) -> None:
    records = [
        {"text": "@hive-lover.77 and @BeeQueen are right, @hive-lover.77!", "author": "@ann_83"},
        {"text": "As Ann Marie Poole said, ask ann_83 or poole@hives.example.org", "author": "x"},
        {"text": "Grace is what it takes", "author": "Grace"},
        {"text": "Hello", "author": "Ann Marie Poole", "like_count": 4, "parent": "c1"},
    ]
    found, bad = comments.read(written(tmp_path, *records))
    assert [comment.text for comment in found] == [
        "@viewer1 and @viewer2 are right, @viewer1!",
        "As @viewer1 said, ask @viewer2 or (address)",
        "Grace is what it takes",
        "Hello",
    ]
    assert [comment.replaced for comment in found] == [3, 3, 0, 0]
    assert (found[3].likes, found[3].reply, found[0].reply) == (4, True, False)
    assert not bad


def test_lines_that_hold_no_comment_are_handed_back(tmp_path: Path) -> None:
    path = written(tmp_path, {"text": "fine"}, {"text": None}, {"text": "x", "like_count": "9"})
    with path.open("ab") as file:
        file.write(b"\xff\n{torn")
    found, bad = comments.read(path)
    assert [comment.text for comment in found] == ["fine"]
    assert [line.line for line in bad] == [2, 3, 4, 5]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no comments\.jsonl"):
        comments.read(tmp_path / "comments.jsonl")


handles = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,12}[A-Za-z0-9]", fullmatch=True)


@given(handles, st.sampled_from(["{} is right", "so true, {}!", "({})", "{}: no", "a {} b {}"]))
def test_no_handle_survives_wherever_it_stands(handle: str, frame: str) -> None:
    text, count = Names([]).replaced(frame.replace("{}", f"@{handle}"))
    assert count == frame.count("{}")
    assert text == frame.replace("{}", "@viewer1")


def test_plain_text_is_left_as_it_is() -> None:
    for text in ("5 @ 3 euros", "see you @", "a/@b", "10:30 was the best part", "@viewer1 yes"):
        assert Names(["Bee Keeper"]).replaced(text) == (text, 0)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("I never knew that the bees could do this, thank you!", "en"),
        ("Das ist wirklich sehr schön, danke für das Video", "de"),
        ("C'est très beau, merci pour cette vidéo", "fr"),
        ("Muy bueno, gracias por el video", "es"),
        ("Это очень красиво", "ru"),
        ("とても良い動画です", "ja"),
        ("这个视频很好", "zh"),
        ("👍👍 100", None),
        ("lol", None),
    ],
)
def test_the_language_of_a_comment_is_guessed_or_left_open(text: str, code: str | None) -> None:
    assert language.guess(text) == code


def test_likeness_looks_past_case_spacing_and_punctuation() -> None:
    one, same = shingles("Best video ever!!!"), shingles("best  VIDEO, ever")
    assert similarity(one, same) == 1
    assert similarity(one, shingles("I disagree with you")) < 0.2
    assert similarity(shingles("🙂"), shingles("🙂")) == 1
    assert similarity(shingles(""), shingles("")) == 1
