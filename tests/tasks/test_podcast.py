"""The podcast task: who speaks for whom, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.voices import VoicesConfig
from understudy.records.conversation import Conversation
from understudy.records.item import Chapter, Item, Source
from understudy.records.turns import Turn
from understudy.records.voices import Role, read_register
from understudy.tasks import Reading
from understudy.tasks.podcast import (
    AD,
    AFTER_CUT,
    BEFORE_CUT,
    CUT_CHAPTER,
    MINOR_VOICE,
    NO_VOICE,
    OTHER_VOICE,
    conversation,
    from_item,
)
from understudy.tasks.policy import Aside, PodcastConfig, Voice
from understudy.tasks.talk import BACK_CHANNEL, BEFORE_GUEST, BEFORE_HOST, OVERLAP

CONFIG = PodcastConfig(name="podcast")
SOURCE = Source(title="An episode", guest="Ada")


def config(**given: Any) -> PodcastConfig:
    return PodcastConfig(name="podcast", **given)


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
    assert talk.asked == {OTHER_VOICE: 1}


def test_a_guest_before_the_host_is_left_out_and_counted() -> None:
    turns = [turn("Ada", "one two three"), turn("Maren", "Hello."), turn("Ada", "Hi.")]
    talk = conversation(turns, SOURCE, CONFIG)
    assert talk.spoken[0].message.role == "user"
    assert talk.unasked == {BEFORE_HOST: 3}


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


def texts(talk: Conversation) -> list[tuple[str, str]]:
    return [(spoken.message.role, spoken.message.content) for spoken in talk.spoken]


def said(speaker: str | None, text: str, start: float, end: float) -> Turn:
    role = Role.host if speaker == "Maren" else None
    return Turn(speaker=speaker, role=role, text=text, start=start, end=end)


def test_a_back_channel_is_taken_out_and_what_it_parted_is_joined() -> None:
    turns = [
        turn("Maren", "How did it begin?"),
        turn("Ada", "With one hive"),
        turn("Maren", "Mm-hm, yeah."),
        turn("Ada", "on the roof."),
        turn("Maren", "And now?"),
        turn("Ada", "Eleven."),
    ]
    talk = conversation(turns, SOURCE, CONFIG)
    assert [text for _, text in texts(talk)][1] == "With one hive on the roof."
    assert talk.asked == {BACK_CHANNEL: 2}
    kept = conversation(turns, SOURCE, config(back_channels=Aside.keep))
    assert [s.words for s in kept.spoken] == [4, 3, 2, 3, 2, 1]
    assert all(s.message.weight for s in kept.spoken)
    read = conversation(turns, SOURCE, config(back_channels=Aside.context))
    assert [s.message.weight for s in read.spoken] == [1, 1, 0, 1, 1, 1]
    assert read.notes["back-channels: context"] == 1


def test_a_short_answer_is_no_back_channel() -> None:
    turns = [
        turn("Maren", "Hello."),
        turn("Ada", "Hi. Do you like honey?"),
        turn("Maren", "Yes."),
        turn("Ada", "I thought so."),
        turn("Maren", "Bees sting."),
        turn("Ada", "Seldom."),
    ]
    assert len(conversation(turns, SOURCE, CONFIG).spoken) == 6


def test_a_short_turn_spoken_over_the_other_is_a_back_channel() -> None:
    turns = [
        said("Maren", "Tell me.", 0, 1),
        said("Ada", "It rained", 1, 9),
        said("Maren", "good lord", 4, 5),
        said("Ada", "for a week.", 9, 12),
    ]
    assert conversation(turns, SOURCE, CONFIG).asked == {BACK_CHANNEL: 2}
    apart = [*turns[:2], said("Maren", "good lord", 9.1, 9.9), said("Ada", "for a week.", 10, 12)]
    assert conversation(apart, SOURCE, CONFIG).asked == {}


def test_overlaps_are_counted_and_follow_their_policy() -> None:
    turns = [
        said("Maren", "A long question that goes on", 0, 10),
        said("Ada", "An answer that comes too early for that", 6, 14),
        said("Maren", "So the last thing I ask", 14, 16),
    ]
    assert conversation(turns, SOURCE, CONFIG).notes["overlaps: keep"] == 1
    out = conversation(turns, SOURCE, config(overlaps=Aside.drop))
    assert out.asked == {OVERLAP: 8}
    read = conversation(turns, SOURCE, config(overlaps=Aside.context))
    assert [s.message.weight for s in read.spoken] == [1, 0, 1]


def test_advertising_is_read_but_not_learned_unless_asked() -> None:
    ad = Chapter(start_seconds=10, end_seconds=20, title="Our sponsor: Hive & Co.")
    source = Source(title="x", guest="Ada", chapters=[ad])
    turns = [
        said("Maren", "Hello.", 0, 5),
        said("Ada", "Hi.", 5, 10),
        said("Maren", "Buy our honey now.", 11, 19),
        said("Maren", "Where were we?", 20, 22),
        said("Ada", "Here.", 22, 23),
    ]
    talk = conversation(turns, source, CONFIG)
    weights = [(s.message.content, s.message.weight) for s in talk.spoken]
    assert ("Buy our honey now.", 0) in weights
    assert ("Where were we?", 1) in weights
    assert talk.notes["segments of advertising: context"] == 1
    assert conversation(turns, source, config(ads=Aside.drop)).asked == {AD: 4}
    kept = conversation(turns, source, config(ads=Aside.keep))
    assert ("user", "Buy our honey now. Where were we?") in texts(kept)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Voice.drop, [("user", "Hello there."), ("assistant", "Hi you."), ("user", "Bye.")]),
        (
            Voice.join,
            [
                ("user", "Hello there."),
                ("assistant", "Hi you. It rains outside."),
                ("user", "Bye."),
            ],
        ),
        (
            Voice.context,
            [
                ("user", "Hello there."),
                ("assistant", "Hi you."),
                ("user", "It rains outside."),
                ("user", "Bye."),
            ],
        ),
    ],
)
def test_a_third_voice_follows_its_policy(policy: Voice, expected: list[tuple[str, str]]) -> None:
    turns = [
        turn("Maren", "Hello there."),
        turn("Ada", "Hi you."),
        turn("Caller", "It rains outside."),
        turn("Maren", "Bye."),
    ]
    talk = conversation(turns, SOURCE, config(other_voices=policy))
    assert texts(talk) == expected
    if policy is Voice.context:
        assert [s.message.weight for s in talk.spoken] == [1, 1, 0, 1]


def test_a_voice_with_a_small_share_is_told_apart_from_a_third_one() -> None:
    turns = [
        turn("Maren", "word " * 150),
        turn("Ada", "word " * 150),
        turn("SPEAKER_07", "Ahem."),
        turn("Caller", "word " * 20),
    ]
    talk = conversation(turns, SOURCE, CONFIG)
    assert talk.asked == {MINOR_VOICE: 1, OTHER_VOICE: 20}
    with pytest.raises(ValueError, match=r"3 voices .Ada, Caller, Maren., more than"):
        conversation(turns, SOURCE, config(max_voices=2))
    assert conversation(turns, SOURCE, config(max_voices=3)).spoken


def test_speech_that_nobody_was_assigned_to_is_an_unasked_loss() -> None:
    turns = [turn("Maren", "Hello."), said(None, "who said this", 1, 2), turn("Ada", "Hi.")]
    assert conversation(turns, SOURCE, CONFIG).unasked == {NO_VOICE: 3}


def test_intro_and_outro_are_cut_by_config_before_source() -> None:
    turns = [
        said("Maren", "Welcome to the show.", 0, 10),
        said("Maren", "So, bees.", 10, 12),
        said("Ada", "Bees indeed.", 12, 20),
        said("Maren", "Bye.", 20, 22),
    ]
    source = Source(title="x", guest="Ada", start_seconds=9.0)
    talk = conversation(turns, source, CONFIG, item="one")
    assert talk.asked == {BEFORE_CUT: 4}
    assert talk.spoken[0].start == 10
    asked = config(cut={"one": [0, 19.5]})
    assert conversation(turns, source, asked, item="one").asked == {AFTER_CUT: 1}
    assert conversation(turns, source, asked, item="two").asked == {BEFORE_CUT: 4}


@pytest.mark.parametrize("times", [[5], [9, 3], [-1, 4], "5-9", [None, 4], {"start": 1}])
def test_a_stretch_that_is_none_is_refused(times: object) -> None:
    with pytest.raises(ValueError, match=r"task.cut.one=.*start, end. in seconds"):
        config(cut={"one": times})
    assert config(cut={"one": [4, None]}).cut


def test_chapters_are_left_out_by_title_if_wanted() -> None:
    intro = Chapter(start_seconds=0, end_seconds=10, title="Intro & jingle")
    source = Source(title="x", guest="Ada", chapters=[intro])
    turns = [
        said("Maren", "Welcome to the show.", 0, 9),
        said("Maren", "So, bees.", 10, 12),
        said("Ada", "Bees indeed.", 12, 20),
    ]
    assert conversation(turns, source, CONFIG).asked == {}
    assert conversation(turns, source, config(cut_chapters=["intro"])).asked == {CUT_CHAPTER: 4}


@pytest.mark.parametrize("key", ["cut", "swapped_items"])
def test_a_name_that_no_item_bears_is_refused(key: str, corpus: Callable[..., Path]) -> None:
    folder = corpus("show", items=2, turns=4)
    corpus("other", items=3, turns=4)
    reading = Reading(register=read_register(folder / "speakers.json"), voices=VoicesConfig())
    names = {"cut": {"episode-1": [0, None]}, "swapped_items": ["episode-2"]}[key]
    assert list(from_item(Item(folder / "episode-0"), reading, config(**{key: names})))
    names = {"cut": {"episod-1": [0, None]}, "swapped_items": ["episod-1"]}[key]
    with pytest.raises(ValueError, match=rf"task\.{key} names episod-1, .* mean episode-1"):
        list(from_item(Item(folder / "episode-0"), reading, config(**{key: names})))


def test_with_roles_swapped_the_guest_opens_and_the_host_is_the_assistant() -> None:
    turns = [
        turn("Maren", "Welcome all."),
        turn("Ada", "Thank you."),
        turn("Maren", "So, bees."),
    ]
    talk = conversation(turns, SOURCE, config(swap_roles=True, train_host=False))
    assert texts(talk) == [("user", "Thank you."), ("assistant", "So, bees.")]
    assert talk.speakers == {"user": "Ada", "assistant": "Maren"}
    assert [s.message.weight for s in talk.spoken] == [1, 0]
    assert talk.asked == {BEFORE_GUEST: 2}


def test_an_item_whose_roles_were_mistaken_is_put_right_in_one_line() -> None:
    turns = [turn("Ada", "Welcome."), turn("Maren", "Thank you."), turn("Ada", "So, bees.")]
    talk = conversation(turns, SOURCE, config(swapped_items=["one"]), item="one")
    assert texts(talk)[0] == ("user", "Welcome.")
    assert talk.speakers == {"user": "Ada", "assistant": "Maren"}
    other = conversation(turns, SOURCE, config(swapped_items=["one"]), item="two")
    assert other.speakers["user"] == "Maren"


def test_the_guests_biography_joins_the_system_message() -> None:
    about = "Ada keeps bees. She sells honey on Sundays."
    source = Source(title="x", guest="Ada", guest_biography=about)
    turns = [turn("Maren", "Hello."), turn("Ada", "Hi.")]
    assert conversation(turns, source, config(system="Talk.")).system == f"Talk.\n\n{about}"
    short = conversation(turns, source, config(biography_words=5))
    assert short.system == "Ada keeps bees."
    assert short.notes["biographies shortened"] == 1
    assert conversation(turns, source, config(biography=False)).system is None


speakers = st.sampled_from(["Maren", "Ada", "Stranger", "SPEAKER_03", None])
times = st.tuples(st.floats(0, 60), st.floats(0, 20)) | st.none()
segments = st.tuples(
    speakers, st.sampled_from(["yeah", "a b", "one two three four?", "mm hm"]), times
)
AD_CHAPTER = Chapter(start_seconds=20, end_seconds=30, title="An ad")


def drawn(speaker: str | None, text: str, at: tuple[float, float] | None) -> Turn:
    start, end = (None, None) if at is None else (at[0], at[0] + at[1])
    role = Role.host if speaker == "Maren" else None
    return Turn(speaker=speaker, role=role, text=text, start=start, end=end)


@given(
    st.lists(segments, max_size=14),
    st.sampled_from(Voice),
    st.sampled_from(Voice),
    st.tuples(st.sampled_from(Aside), st.sampled_from(Aside), st.sampled_from(Aside)),
    st.booleans(),
    st.sampled_from([{}, {"one": [5, 40]}]),
)
def test_no_word_is_lost_under_any_policy(
    parts: list[Any],
    other: Voice,
    minor: Voice,
    asides: tuple[Aside, Aside, Aside],
    swap: bool,  # noqa: FBT001
    cut: dict[str, Any],
) -> None:
    turns = [turn("Maren", "Hello."), turn("Ada", "Hi."), *(drawn(*part) for part in parts)]
    policies = config(
        other_voices=other,
        minor_voices=minor,
        back_channels=asides[0],
        overlaps=asides[1],
        ads=asides[2],
        swap_roles=swap,
        cut=cut,
        minor_share=0.2,
    )
    source = Source(title="x", guest="Ada", chapters=[AD_CHAPTER])
    talk = conversation(turns, source, policies, item="one")
    assert talk.words_in == sum(t.words for t in turns)
    assert not talk.spoken or talk.spoken[0].message.role == "user"
    neighbours = pairwise((s.message.role, s.message.weight) for s in talk.spoken)
    assert all(one != other for one, other in neighbours)
