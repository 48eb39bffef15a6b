"""The summary task: a transcript with chapters in, what a person wrote about it out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.voices import VoicesConfig
from understudy.records import summary as summaries
from understudy.records.conversation import Conversation, GivesWay
from understudy.records.item import Item
from understudy.records.summary import ChapterSummary, Summary
from understudy.tasks import Reading
from understudy.tasks.summary import (
    NO_TIMES,
    OUTSIDE,
    Form,
    Long,
    SummaryConfig,
    from_item,
    from_row,
)

READING = Reading(register=[], voices=VoicesConfig())
SEGMENTS = [
    {"start": 0.0, "end": 4.0, "text": "We climb up to the hives."},
    {"start": 4.0, "end": 9.0, "text": "The roof is hot today."},
    {"start": 9.0, "end": 14.0, "text": "Winter was silent and long."},
    {"start": 15.0, "end": 16.0, "text": "Bye all."},
]
CHAPTERS = [
    {"start_seconds": 0.0, "end_seconds": 9.0, "title": "Up the car park"},
    {"start_seconds": 9.0, "end_seconds": 15.0, "title": "The silent winter"},
]
TARGET = {
    "summary": "A keeper shows his hives.",
    "chapters": [
        {"title": "Up the car park", "summary": "The way up."},
        {"title": "The silent winter", "summary": "A hard season."},
    ],
    "key_points": ["Bees like height", "Winters are hard"],
    "tags": ["bees", "roof"],
    "outlook": "More hives in spring.",
}
MARKDOWN = """## Summary

A keeper shows his hives.

## Chapters

### Up the car park

The way up.

### The silent winter

A hard season.

## Key points

- Bees like height
- Winters are hard

## Tags

bees, roof

## Outlook

More hives in spring."""


def config(**given: Any) -> SummaryConfig:
    return SummaryConfig(name="summary", **given)


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Item]:
    def make(**targets: str) -> Item:
        source = {"title": "Bees", "chapters": CHAPTERS, "category": "nature", "creator": "Maren"}
        (tmp_path / "source.json").write_text(json.dumps(source))
        (tmp_path / "transcript.json").write_text(json.dumps({"segments": SEGMENTS}))
        for suffix, text in targets.items():
            (tmp_path / f"target.summary.{suffix}").write_text(text)
        return Item(tmp_path)

    return make


def talks(item: Item, **given: Any) -> list[Conversation]:
    return list(from_item(item, READING, config(**given)))


def messages(talk: Conversation) -> tuple[str, str]:
    user, assistant = (spoken.message for spoken in talk.spoken)
    assert (user.role, user.weight) == ("user", 0)
    assert (assistant.role, assistant.weight) == ("assistant", 1)
    return user.content, assistant.content


def test_text_and_chapters_in_the_persons_summary_out(video: Callable[..., Item]) -> None:
    (talk,) = talks(video(md=MARKDOWN + "\n"))
    user, assistant = messages(talk)
    assert assistant == MARKDOWN
    assert "Summarise this video in Markdown:" in user
    assert "Title: Bees\n\nChapters:\n[0:00-0:09] Up the car park\n[0:09-0:15] The silent" in user
    assert talk.gives_way is GivesWay.body
    assert talk.body is not None
    assert user[slice(*talk.body)] == "\n".join(str(s["text"]) for s in SEGMENTS)
    assert (talk.category, talk.creator) == ("nature", "Maren")


def test_what_a_person_wrote_in_markdown_is_learned_word_for_word(
    video: Callable[..., Item],
) -> None:
    own = "# My own way\n\nNo headings that anybody knows.\n\n## Verdict\n\n*Good.*"
    assert messages(talks(video(md=own))[0])[1] == own
    with pytest.raises(ValueError, match="the heading 'Verdict' is none of chapter summaries"):
        talks(video(md=own), form=Form.json)


def test_each_form_is_made_of_the_other(video: Callable[..., Item]) -> None:
    item = video(json=json.dumps(TARGET))
    assert messages(talks(item)[0])[1] == MARKDOWN
    user, assistant = messages(talks(item, form=Form.json)[0])
    assert json.loads(assistant) == TARGET
    assert "JSON with the keys summary, chapters" in user
    (item.folder / "target.summary.json").unlink()
    assert json.loads(messages(talks(video(md=MARKDOWN), form=Form.json)[0])[1]) == TARGET


def test_of_two_targets_the_one_in_the_wanted_form_is_taken(video: Callable[..., Item]) -> None:
    item = video(md="By hand.", json=json.dumps(TARGET))
    assert messages(talks(item)[0])[1] == "By hand."
    assert json.loads(messages(talks(item, form=Form.json)[0])[1]) == TARGET


def test_a_long_text_goes_chapter_by_chapter_and_then_as_a_whole(
    video: Callable[..., Item],
) -> None:
    item = video(json=json.dumps(TARGET))
    found = talks(item, long=Long.chapters, long_words=10)
    pairs = [messages(talk) for talk in found]
    assert [answer for _, answer in pairs] == ["The way up.", "A hard season.", MARKDOWN]
    assert pairs[0][0].endswith(
        "Chapter: [0:00-0:09] Up the car park\n\nTranscript:\n"
        "We climb up to the hives.\nThe roof is hot today."
    )
    assert pairs[2][0].endswith("[0:09-0:15] The silent winter\nA hard season.")
    assert "Transcript" not in pairs[2][0]
    assert found[2].asked == {OUTSIDE: 2}
    assert all(talk.gives_way is GivesWay.body and talk.body for talk in found)
    bodies = [
        user[slice(*(talk.body or (0, 0)))] for talk, (user, _) in zip(found, pairs, strict=True)
    ]
    said = sum(len(str(s["text"]).split()) for s in SEGMENTS)
    assert sum(len(body.split()) for body in bodies[:2]) + found[2].asked.total() == said
    assert len(talks(item, long=Long.chapters, long_words=50)) == 1
    as_json = [
        messages(t)[1] for t in talks(item, long=Long.chapters, long_words=1, form=Form.json)
    ]
    assert json.loads(as_json[0]) == {"summary": "The way up."}


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        ({}, r"no target\.summary\.md and no target\.summary\.json"),
        ({"json": "{torn"}, r"target\.summary\.json"),
        ({"json": '{"sumary": "x"}'}, "unknown key sumary: use summary, chapters"),
        ({"json": '{"tags": "a, b"}'}, "tags is no list of texts"),
        ({"json": '{"chapters": [{"summary": "x"}]}'}, "no title"),
        ({"json": '{"summary": ""}'}, "summary is empty: nothing to learn"),
        ({"md": "  \n"}, "no summary"),
    ],
)
def test_a_target_that_is_none_says_why(
    video: Callable[..., Item], targets: dict[str, str], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        talks(video(**targets))


def test_an_item_that_is_not_transcribed_says_so(video: Callable[..., Item]) -> None:
    item = video(md=MARKDOWN)
    item.transcript_file.unlink()
    with pytest.raises(ValueError, match=r"no transcript\.json"):
        talks(item)
    item.transcript_file.write_text('{"segments": []}')
    with pytest.raises(ValueError, match="the text is empty"):
        talks(item)


ASSEMBLED = {
    "status": "completed",
    "text": "We climb up. Winter was silent.",
    "words": [
        {"text": word, "start": 1000 * at, "end": 1000 * at + 500}
        for at, word in enumerate(["We", "climb", "up.", "Winter", "was", "silent."])
    ],
    "chapters": [
        {"headline": "Up the car park", "gist": "Up", "summary": "s", "start": 0, "end": 2900},
        {"headline": "The silent winter", "gist": "W", "summary": "s", "start": 2900, "end": 6000},
    ],
}


def row(**change: Any) -> dict[str, Any]:
    base = {"full_text": "We climb up.", "auto_chapters": CHAPTERS, "summary": TARGET}
    return {**base, **change}


def test_rows_hold_text_chapters_and_summary() -> None:
    (talk,) = from_row(row(creator="Maren", title="Bees"), config())
    user, assistant = messages(talk)
    assert assistant == MARKDOWN
    assert user.endswith("[0:09-0:15] The silent winter\n\nTranscript:\nWe climb up.")
    assert talk.creator == "Maren"
    (talk,) = from_row(row(summary=json.dumps(TARGET)), config(form=Form.json))
    assert json.loads(messages(talk)[1]) == TARGET
    (talk,) = from_row(row(auto_chapters="0:00 Up\n0:09 Winter"), config())
    assert "Chapters:\n0:00 Up\n0:09 Winter\n" in messages(talk)[0]
    (talk,) = from_row(row(auto_chapters=json.dumps(CHAPTERS)), config())
    assert "[0:00-0:09] Up the car park" in messages(talk)[0]
    (talk,) = from_row(row(auto_chapters=None), config())
    assert "Chapters:" not in messages(talk)[0]


def test_assemblyais_transcript_and_chapters_are_read_from_rows() -> None:
    record = row(full_text=ASSEMBLED)
    del record["auto_chapters"]
    (talk,) = from_row(record, config())
    assert "[0:00-0:02] Up the car park" in messages(talk)[0]
    found = list(from_row(record, config(long=Long.chapters, long_words=3)))
    assert len(found) == 3
    assert messages(found[0])[0].split("Transcript:\n")[1].split() == ["We", "climb", "up."]
    assert found[2].asked == {}


def test_a_long_row_without_times_is_cut_to_a_window_and_counted() -> None:
    (talk,) = from_row(row(), config(long=Long.chapters, long_words=1))
    assert talk.notes[NO_TIMES] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"full_text": None}, "full_text is null"),
        ({"full_text": {"a": 1}}, "no transcript of AssemblyAI's"),
        ({"full_text": {**ASSEMBLED, "status": "queued"}}, "full_text: .*queued"),
        ({"auto_chapters": [{"title": "x"}]}, "auto_chapters: chapter 1: x: no start and end"),
        ({"auto_chapters": 5}, "auto_chapters: no list of chapters"),
        ({"summary": None}, "summary is null"),
        ({"summary": ["x"]}, "summary is no text but a list"),
    ],
)
def test_a_bad_row_says_what_is_wrong(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        list(from_row(row(**change), config()))


def test_markdown_is_read_as_people_write_it() -> None:
    text = (
        "# Bees\n\nIt is about bees.\n\n## Chapter summaries:\n- **[0:00] Up the roof**: The way.\n"
        "* Winter: Cold.\n\n## Takeaways\n1. One\n2) Two\n\n## Keywords\n- bees\n- roof"
    )
    assert summaries.from_markdown(text) == Summary(
        summary="It is about bees.",
        chapters=(
            ChapterSummary(title="Up the roof", summary="The way."),
            ChapterSummary(title="Winter", summary="Cold."),
        ),
        key_points=("One", "Two"),
        tags=("bees", "roof"),
    )


plain = st.text("abc é.", min_size=1, max_size=20).map(str.strip).filter(bool)


@given(
    st.builds(
        Summary,
        summary=plain,
        chapters=st.lists(st.builds(ChapterSummary, title=plain, summary=plain), max_size=3).map(
            tuple
        ),
        key_points=st.lists(plain, max_size=3).map(tuple),
        tags=st.lists(plain, max_size=3).map(tuple),
        outlook=plain,
    )
)
def test_a_summary_comes_back_from_either_form(one: Summary) -> None:
    assert summaries.parse(one.json()) == one
    assert summaries.parse(one.markdown()) == one
