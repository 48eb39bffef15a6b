"""Words to speakers: by overlap, and none is ever lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.records.transcript import Word
from understudy.transcribe.assign import (
    FLICKER_SECONDS,
    SHORTEST_CAP_SECONDS,
    Stretch,
    assign,
    cap,
    cap_all,
    segments,
    turns,
)

A, B = "SPEAKER_00", "SPEAKER_01"
TIMES = st.floats(0, 60, allow_nan=False)


def word(text: str, start: float | None = None, end: float | None = None) -> Word:
    return Word(word=text, start=start, end=end, score=0.9)


def stretch(start: float, end: float, speaker: str) -> Stretch:
    return Stretch(start=start, end=end, speaker=speaker)


def speakers(words: list[Word], stretches: list[Stretch]) -> list[str | None]:
    return [w.speaker for w in assign(words, stretches).words]


def test_the_voice_that_overlaps_most_gets_the_word() -> None:
    both = [stretch(0, 1.0, A), stretch(1.0, 3.0, B)]
    assert speakers([word("hello.", 0.0, 0.5), word("well.", 0.9, 1.6)], both) == [A, B]


def test_overlap_is_summed_over_stretches_of_one_voice() -> None:
    parts = [stretch(0, 0.3, A), stretch(0.3, 0.7, B), stretch(0.7, 1.0, A)]
    assert speakers([word("long.", 0.0, 1.0)], parts) == [A]


def test_a_word_in_silence_goes_to_the_nearest_voice_and_is_counted() -> None:
    result = assign([word("so.", 2.7, 2.9)], [stretch(0, 1, A), stretch(3, 4, B)])
    assert [w.speaker for w in result.words] == [B]
    assert result.nearest == 1
    after = assign([word("so.", 5.0, 5.2)], [stretch(0, 1, A), stretch(3, 4, B)])
    assert (after.words[0].speaker, after.nearest) == (B, 1)


def test_words_without_times_inherit_their_neighbours_voice() -> None:
    words = [word("ten"), word("past", 0.1, 0.4), word("9"), word("he", 2.1, 2.4), word("says")]
    result = assign(words, [stretch(0, 1, A), stretch(2, 3, B)])
    assert [w.speaker for w in result.words] == [A, A, A, B, B]
    assert result.untimed == 3
    assert result.words[2].start is None


def test_without_voices_nobody_is_named() -> None:
    result = assign([word("hello", 0, 1)], [])
    assert (result.words[0].speaker, result.nearest, result.untimed) == (None, 0, 0)


def test_a_flicker_does_not_cut_a_sentence() -> None:
    words = [word("and", 0, 0.2), word("I'm", 0.3, 0.5), word("Sheila.", 0.5, 1.5)]
    result = assign(words, [stretch(0, 0.25, A), stretch(0.25, 2, B)])
    assert [w.speaker for w in result.words] == [B, B, B]
    assert result.steadied == 1


def test_an_interjection_of_its_own_is_no_flicker() -> None:
    words = [word("So", 0, 0.3), word("then.", 0.3, 1.0), word("Yes.", 1.1, 1.3)]
    assert speakers(words, [stretch(0, 1.05, A), stretch(1.05, 2, B)]) == [A, A, B]


def test_a_real_interruption_cuts_a_sentence() -> None:
    longer = FLICKER_SECONDS + 0.2
    words = [word("I", 0, 0.9), word("no", 1, 1 + longer), word("mean.", 2, 3)]
    voices = [stretch(0, 1, A), stretch(1, 1.9, B), stretch(1.9, 3, A)]
    assert speakers(words, voices) == [A, B, A]


@pytest.mark.parametrize(
    ("before", "given_word", "expected"),
    [
        (None, word("Well", 0.0, 5.0), (4.0, 5.0)),
        (word("end.", 0, 1), word("Well", 1.0, 5.0), (4.0, 5.0)),
        (word("mid", 0, 1), word("sentence", 1.0, 5.0), (1.0, 2.0)),
        (word("mid", 0, 1), word("end.", 1.0, 5.0), (1.0, 2.0)),
        (None, word("Hm.", 1.0, 5.0), (1.0, 2.0)),
        (None, word("quick", 1.0, 1.3), (1.0, 1.3)),
        (None, word("untimed"), (None, None)),
    ],
)
def test_a_word_stretched_over_a_silence_is_capped(
    before: Word | None, given_word: Word, expected: tuple[float | None, float | None]
) -> None:
    shorter = cap(given_word, before)
    assert (shorter.start, shorter.end) == expected


def test_capped_words_are_counted() -> None:
    words, count = cap_all([word("a", 0, 9), word("b", 9, 9.2), word("c", 9.2, 15)])
    assert count == 2
    assert all(w.end - w.start <= SHORTEST_CAP_SECONDS for w in words if w.start is not None)


def test_segments_are_runs_of_one_voice_cut_at_sentence_ends() -> None:
    texts = ["Hello", "there.", "You?", "I", "am.", "Fine."]
    who = [A, A, A, B, B, B]
    words = [
        replace(word(t, i, i + 0.5), speaker=s)
        for i, (t, s) in enumerate(zip(texts, who, strict=True))
    ]
    parts = segments(words, " ")
    assert [part.text for part in parts] == ["Hello there.", "You?", "I am.", "Fine."]
    assert (parts[0].speaker, parts[0].start, parts[0].end) == (A, 0, 1.5)
    assert [(t.speaker, t.start, t.end) for t in turns(parts)] == [(A, 0, 2.5), (B, 3, 5.5)]


def test_languages_without_spaces_are_joined_without_them() -> None:
    words = [word("你好", 0, 1), word("。", 1, 1.1), word("再见", 2, 3)]
    assert [part.text for part in segments(words, "")] == ["你好。", "再见"]


@st.composite
def spoken(draw: st.DrawFn) -> list[Word]:
    texts = draw(
        st.lists(st.text("abc.?!'\" ", min_size=1, max_size=6).map(str.strip), max_size=30)
    )
    words = []
    for text in (t or "x" for t in texts):
        start = draw(st.none() | TIMES)
        end = None if start is None else start + draw(st.floats(0, 12, allow_nan=False))
        words.append(word(text, start, draw(st.just(end) | st.none())))
    return words


@st.composite
def voices(draw: st.DrawFn) -> list[Stretch]:
    cuts = sorted(draw(st.lists(TIMES, max_size=12, unique=True)))
    return [
        stretch(start, end, draw(st.sampled_from((A, B))))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]


@given(spoken(), voices())
def test_no_word_is_ever_lost_or_moved(words: list[Word], stretches: list[Stretch]) -> None:
    capped, _ = cap_all(words)
    assigned = assign(capped, stretches)
    parts = segments(assigned.words, " ")
    assert [w.word for part in parts for w in part.words] == [w.word for w in words]
    assert " ".join(part.text for part in parts).split() == " ".join(w.word for w in words).split()
    assert all(w.speaker == part.speaker for part in parts for w in part.words)
    if stretches and any(w.start is not None and w.end is not None for w in words):
        assert all(w.speaker is not None for w in assigned.words)
