"""The comment task: which comments are learned, and what is read before them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.voices import VoicesConfig
from understudy.records.comments import Comment
from understudy.records.conversation import Conversation, GivesWay
from understudy.records.item import Item
from understudy.tasks import Reading
from understudy.tasks.comment import (
    DUPLICATE,
    LANGUAGE,
    LIKES,
    LINK,
    LONG,
    REPLY,
    SHORT,
    SURPLUS,
    CommentConfig,
    Speech,
    choose,
    from_item,
    from_row,
)

READING = Reading(register=[], voices=VoicesConfig())
SPOKEN = "Today we paint a sign in gold leaf. It takes a whole day."
VTT = """WEBVTT

00:01.000 --> 00:04.000
Today we paint a sign in gold leaf.

00:04.000 --> 00:06.000
It takes a whole day.
"""
VIEWERS = [
    {"text": "The gold leaf on that sign is lovely work", "like_count": 50, "author": "@ann"},
    {"text": "the gold leaf on that sign is lovely work!!", "like_count": 4},
    {"text": "I could watch @ann paint for the whole day", "like_count": 7},
    {"text": "First one", "like_count": 90},
    {"text": "Cheap gold leaf at https://example.org every day", "like_count": 80},
    {"text": "Thank you, that is what I came for", "like_count": 60, "parent": "c1"},
    {"text": "Das ist wirklich sehr schön und auch die Musik", "like_count": 8},
    {"text": "Nobody liked this comment of mine yet", "like_count": 0},
    {"text": "word " * 200, "like_count": 9},
]


def config(**given: Any) -> CommentConfig:
    return CommentConfig(name="comment", **given)


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Item]:
    def make(*, viewers: list[dict[str, Any]] = VIEWERS, subtitles: bool = True) -> Item:
        source = {
            "title": "Gold leaf",
            "description": "How a sign is gilded.",
            "category": "Howto & Style",
            "creator": "Sign Shop",
            "licence": "CC-BY-4.0",
        }
        (tmp_path / "source.json").write_text(json.dumps(source))
        (tmp_path / "comments.jsonl").write_text("\n".join(map(json.dumps, viewers)))
        if subtitles:
            (tmp_path / "subtitles.en.vtt").write_text(VTT)
        return Item(tmp_path)

    return make


def talks(item: Item, **given: Any) -> list[Conversation]:
    return list(from_item(item, READING, config(**given)))


def answers(found: list[Conversation]) -> list[str]:
    return [talk.spoken[-1].message.content for talk in found]


def test_the_best_liked_comments_that_fit_are_taken(video: Callable[..., Item]) -> None:
    found = talks(video(), min_likes=1, language="en")
    assert answers(found) == [
        "The gold leaf on that sign is lovely work",
        "I could watch @viewer1 paint for the whole day",
    ]
    assert list(found[0].asked) == [
        SHORT,
        LINK,
        REPLY,
        LONG,
        LANGUAGE,
        DUPLICATE,
        LIKES,
    ]
    assert found[0].asked[LONG] == 200
    assert not found[1].asked
    assert found[1].notes["names and addresses of viewers replaced"] == 1


def test_each_is_a_talk_of_its_own_whose_input_gives_way(video: Callable[..., Item]) -> None:
    talk = talks(video())[0]
    user, assistant = (spoken.message for spoken in talk.spoken)
    assert (user.role, user.weight, assistant.role, assistant.weight) == ("user", 0, "assistant", 1)
    assert talk.gives_way is GivesWay.body
    assert talk.body is not None
    assert user.content[slice(*talk.body)] == SPOKEN
    assert user.content.startswith(config().ask)
    assert "Gold leaf\n" not in user.content
    assert (talk.category, talk.creator) == ("Howto & Style", "Sign Shop")
    assert talk.licence == "CC-BY-4.0"


def test_title_and_description_are_put_before_if_wanted(video: Callable[..., Item]) -> None:
    user = talks(video(), title=True, description=True)[0].spoken[0].message.content
    assert "Title: Gold leaf\n\nDescription: How a sign is gilded.\n\nSubtitles:\n" in user


@pytest.mark.parametrize("count", [1, 2, 3])
def test_how_many_comments_of_a_video_is_set(video: Callable[..., Item], count: int) -> None:
    found = talks(video(), comments=count)
    assert len(found) == count
    assert found[0].asked[SURPLUS] > 0


def test_a_transcript_stands_in_for_subtitles(video: Callable[..., Item]) -> None:
    item = video(subtitles=False)
    with pytest.raises(ValueError, match=r"no subtitles\.<language>.* and no transcript"):
        talks(item)
    record = {"segments": [{"text": " Another "}, {"text": "thing said."}]}
    item.transcript_file.write_text(json.dumps(record))
    assert talks(item)[0].spoken[0].message.content.endswith("Another thing said.")
    with pytest.raises(ValueError, match=r"no subtitles\."):
        talks(item, speech=Speech.subtitles)
    (item.folder / "subtitles.en.vtt").write_text(VTT)
    assert talks(item)[0].spoken[0].message.content.endswith("a whole day.")
    found = talks(item, speech=Speech.transcript)
    assert found[0].spoken[0].message.content.endswith("Another thing said.")


def test_subtitles_of_the_videos_own_language_are_taken_or_it_is_said(
    video: Callable[..., Item],
) -> None:
    item = video()
    assert not any("subtitles in" in note for note in talks(item, language="en")[0].notes)
    record = json.loads(item.source_file.read_text())
    item.source_file.write_text(json.dumps({**record, "language": "de"}))
    assert talks(item)[0].notes["subtitles in en, as there are none in de"] == 1
    (item.folder / "subtitles.de.vtt").write_text(VTT.replace("Today", "Heute"))
    assert "Heute we paint" in talks(item)[0].spoken[0].message.content


def test_a_video_without_a_comment_to_learn_says_why(video: Callable[..., Item]) -> None:
    with pytest.raises(ValueError, match=r"no comment to learn from: 9 found; .*too few likes"):
        talks(video(), min_likes=1000)
    with pytest.raises(ValueError, match="0 found; all empty"):
        talks(video(viewers=[]))


def test_a_damaged_line_is_counted(video: Callable[..., Item]) -> None:
    item = video()
    with (item.folder / "comments.jsonl").open("a") as file:
        file.write('\n{"text": null}\n{"no": 1}\n{torn')
    notes = talks(item)[0].notes
    assert sum(n for name, n in notes.items() if "of comments.jsonl" in name) == 3


comment_lists = st.lists(
    st.builds(
        Comment,
        text=st.sampled_from(
            ["so good", "so good!", "I like the bees", "a b c d e f", "no, thanks"]
        ),
        likes=st.integers(0, 9),
        reply=st.booleans(),
        replaced=st.just(0),
    ),
    max_size=12,
)


@given(comment_lists, st.integers(1, 4), st.integers(0, 5), st.booleans())
def test_no_word_of_a_comment_is_lost(
    found: list[Comment],
    count: int,
    likes: int,
    replies: bool,  # noqa: FBT001
) -> None:
    from collections import Counter

    passed: Counter[str] = Counter()
    chosen = choose(found, config(comments=count, min_likes=likes, replies=replies), passed)
    words = sum(comment.words for comment in chosen) + passed.total()
    assert words == sum(comment.words for comment in found)
    assert len(chosen) <= count
    assert all(comment.likes >= likes for comment in chosen)
    assert [c.likes for c in chosen] == sorted((c.likes for c in chosen), reverse=True)


def test_rows_are_pairs() -> None:
    row = {"subtitle": "We  paint.", "comment": "@bob Nice!", "category": "Art", "title": "T"}
    (talk,) = from_row(row, config(title=True))
    assert [s.message.content for s in talk.spoken][1] == "@viewer1 Nice!"
    assert talk.spoken[0].message.content.endswith("Title: T\n\nSubtitles:\nWe paint.")
    assert talk.category == "Art"
    with pytest.raises(ValueError, match="no comment: the row has subtitle"):
        list(from_row({"subtitle": "x"}, config()))


def test_limits_are_said_in_words() -> None:
    with pytest.raises(ValueError, match=r"task\.comments=0"):
        config(comments=0)
    with pytest.raises(ValueError, match=r"task\.max_words=2 .*from 3"):
        config(max_words=2)
