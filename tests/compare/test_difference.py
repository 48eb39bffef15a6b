from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from understudy.compare.difference import Change, Segment, difference

TEXTS = st.text(alphabet="ab. \n", max_size=40)


def spelled(segments: list[Segment], *changes: Change) -> str:
    return "".join(segment.text for segment in segments if segment.change in changes)


def test_a_changed_word_is_marked_and_nothing_else() -> None:
    found = difference("I hear the sea at night.", "I hear the lamp at night.")
    assert found == [
        Segment(Change.same, "I hear the "),
        Segment(Change.gone, "sea "),
        Segment(Change.added, "lamp "),
        Segment(Change.same, "at night."),
    ]


def test_one_shared_word_between_changes_is_chance() -> None:
    found = difference("As a model, I cannot say much", "The lamp and I were old friends")
    assert [segment.change for segment in found] == [Change.gone, Change.added]


def test_equal_and_empty_texts() -> None:
    assert difference("same", "same") == [Segment(Change.same, "same")]
    assert difference("", "new") == [Segment(Change.added, "new")]
    assert difference("old", "") == [Segment(Change.gone, "old")]
    assert difference("", "") == []


@given(TEXTS, TEXTS)
@example(" a a", " a")
def test_the_segments_spell_out_both_texts(base: str, text: str) -> None:
    found = difference(base, text)
    assert spelled(found, Change.same, Change.added) == text
    assert spelled(found, Change.same, Change.gone).split() == base.split()
