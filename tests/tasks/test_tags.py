"""The tags task: a description in, its tags out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.records.conversation import Conversation, GivesWay
from understudy.tasks.tags import REPEATED, Form, TagsConfig, from_row


def config(**given: Any) -> TagsConfig:
    return TagsConfig(name="tags", **given)


def talk(record: dict[str, Any], **given: Any) -> Conversation:
    (found,) = from_row(record, config(**given))
    return found


ROW = {"description": "A slow waltz at the piano.", "tags": ["piano", "slow", "70 bpm"]}


def test_a_row_is_system_user_and_assistant() -> None:
    found = talk(ROW)
    assert found.system == (
        "Give the tags of the description, and nothing else, as a list separated by commas."
    )
    messages = [(s.message.role, s.message.content, s.message.weight) for s in found.spoken]
    assert messages == [
        ("user", "A slow waltz at the piano.", 0),
        ("assistant", "piano, slow, 70 bpm", 1),
    ]
    assert found.gives_way is GivesWay.body
    assert found.body == (0, len(ROW["description"]))


def test_the_answer_is_json_if_wanted_and_the_system_message_says_so() -> None:
    found = talk(ROW, form=Form.json)
    assert json.loads(found.spoken[1].message.content) == {"tags": ["piano", "slow", "70 bpm"]}
    assert found.system is not None
    assert 'JSON of the form {"tags":' in found.system
    assert talk(ROW, system="Tag it.", form=Form.json).system == "Tag it."
    assert talk(ROW, system=None).system is None


@pytest.mark.parametrize(
    "tags",
    [
        "piano, slow , 70  bpm",
        "piano;slow;70 bpm",
        '["piano", "slow", "70 bpm"]',
        "['piano', 'slow', '70 bpm']",
        "[piano, slow, 70 bpm]",
    ],
)
def test_tags_are_read_as_people_write_them_in_tables(tags: str) -> None:
    assert talk({**ROW, "tags": tags}).spoken[1].message.content == "piano, slow, 70 bpm"


def test_a_repeated_tag_is_taken_once_and_counted() -> None:
    found = talk({**ROW, "tags": ["Hard Rock", "drums", "hard rock"]})
    assert found.spoken[1].message.content == "Hard Rock, drums"
    assert found.asked == {REPEATED: 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tags": []}, "tags is empty"),
        ({"tags": ""}, "tags is empty: the row has description, tags"),
        ({"tags": None}, "tags is null"),
        ({"tags": ["a", None]}, "tags holds null"),
        ({"tags": ["a", ""]}, "tags holds an empty tag"),
        ({"tags": {"a": 1}}, "tags is no text but an object"),
        ({"tags": ["rock, hard"]}, "'rock, hard' holds a comma: use task.form=json"),
        ({"description": None}, "description is null"),
        ({"description": ["x"]}, "description is no text but a list"),
    ],
)
def test_a_bad_row_says_what_is_wrong(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        talk({**ROW, **change})


def test_a_missing_column_names_those_that_are_there() -> None:
    with pytest.raises(ValueError, match="no description: the row has caption, tags"):
        talk({"caption": "x", "tags": "y"})
    found = talk(
        {"caption": "x", "aspects": "y"}, description_column="caption", tags_column="aspects"
    )
    assert found.spoken[0].message.content == "x"


tag = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)


@given(st.lists(tag, min_size=1, max_size=8))
def test_as_json_every_tag_comes_back_and_no_word_is_lost(tags: list[str]) -> None:
    found = talk({"description": "x", "tags": tags}, form=Form.json)
    back = json.loads(found.spoken[1].message.content)["tags"]
    assert {t.casefold() for t in back} == {" ".join(t.split()).casefold() for t in tags}
    words = sum(len(t.split()) for t in back) + found.asked.total()
    assert words == sum(len(t.split()) for t in tags)
