"""The podcast task: who speaks for whom, and what is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.records.item import Source
from understudy.records.turns import Turn
from understudy.records.voices import Role
from understudy.tasks.podcast import BEFORE_HOST, OTHER_VOICE, PodcastConfig, conversation

CONFIG = PodcastConfig(name="podcast")
SOURCE = Source(title="An episode", guest="Ada")


def turn(speaker: str, text: str) -> Turn:
    role = Role.host if speaker == "Maren" else None
    return Turn(speaker=speaker, role=role, text=text, start=None, end=None)


def test_host_is_the_user_and_guest_the_assistant() -> None:
    talk = conversation([turn("Maren", "Hello."), turn("Ada", "Hi.")], SOURCE, CONFIG)
    assert [(s.message.role, s.message.content) for s in talk.spoken] == [
        ("user", "Hello."),
        ("assistant", "Hi."),
    ]
    assert talk.speakers == {"user": "Maren", "assistant": "Ada"}


def test_what_a_dropped_voice_parted_is_joined_again() -> None:
    turns = [
        turn("Maren", "Hello."),
        turn("Ada", "Hi"),
        turn("Stranger", "Ahem."),
        turn("Ada", "there."),
    ]
    talk = conversation(turns, SOURCE, CONFIG)
    assert [s.message.content for s in talk.spoken] == ["Hello.", "Hi there."]
    assert talk.dropped == {OTHER_VOICE: 1}


def test_a_guest_before_the_host_is_left_out_and_counted() -> None:
    turns = [turn("Ada", "one two three"), turn("Maren", "Hello."), turn("Ada", "Hi.")]
    talk = conversation(turns, SOURCE, CONFIG)
    assert talk.spoken[0].message.role == "user"
    assert talk.dropped == {BEFORE_HOST: 3}


@pytest.mark.parametrize(("host", "guest"), [(True, False), (False, True)])
def test_one_side_alone_can_be_learned(host: bool, guest: bool) -> None:  # noqa: FBT001
    config = PodcastConfig(name="podcast", train_host=host, train_guest=guest)
    talk = conversation([turn("Maren", "Hello."), turn("Ada", "Hi.")], SOURCE, config)
    assert [s.message.weight for s in talk.spoken] == [int(host), int(guest)]


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        PodcastConfig(name="podcast", train_host=False, train_guest=False)


def test_without_a_name_the_guest_is_who_talks_most() -> None:
    turns = [turn("Maren", "Hello."), turn("S1", "a"), turn("S2", "a b c"), turn("Maren", "Bye.")]
    talk = conversation(turns, Source(title="x"), CONFIG)
    assert talk.speakers["assistant"] == "S2"


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([turn("Ada", "Hi.")], "the host is not heard .voices: Ada."),
        ([turn("Maren", "Hello?")], "only the host is heard"),
        ([], "the host is not heard .voices: nobody."),
    ],
)
def test_an_episode_without_both_says_who_is_missing(turns: list[Turn], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        conversation(turns, SOURCE, CONFIG)


speakers = st.sampled_from(["Maren", "Ada", "Stranger", "SPEAKER_03"])


@given(st.lists(st.tuples(speakers, st.text("ab ", min_size=1, max_size=9)), max_size=12))
def test_no_word_is_lost_and_roles_alternate(pairs: list[tuple[str, str]]) -> None:
    turns = [turn(s, t) for s, t in [("Maren", "Hello."), ("Ada", "Hi."), *pairs]]
    talk = conversation(turns, SOURCE, CONFIG)
    placed = sum(spoken.words for spoken in talk.spoken) + talk.dropped.total()
    assert placed == sum(t.words for t in turns)
    roles = [spoken.message.role for spoken in talk.spoken]
    assert roles == [("user", "assistant")[place % 2] for place in range(len(roles))]
