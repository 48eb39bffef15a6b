"""Rows that fit: by the template's own count, with every word accounted for."""

from __future__ import annotations

from collections import Counter

import pytest
from chat_encoders import CASES, V1, bytelevel, encoder_for
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.chat.encoder import Encoder
from understudy.config.task import TaskConfig
from understudy.prepare.fit import CUT_BODY, JOINED, OPENED, WINDOW, Fitted, Fitter
from understudy.records.conversation import Conversation, GivesWay, Spoken
from understudy.records.rows import Message

SENTENCES = (
    "Yes.",
    "The bees came back in April, all of them!",
    'Was that the year of the flood? Nobody "really" knows.',
    "naïve café ☕ 漢字 and 🐝🐝",
    "well you see it was so",
    "Unbreakableword" * 6,
)


def encoder(dialect: str) -> Encoder:
    return encoder_for(dialect, V1 if dialect == "mistral_v1" else "bytes")


def fit(talk: Conversation, context: int, dialect: str = "chatml", **config: int) -> Fitted:
    task = TaskConfig(name="podcast", **config)  # type: ignore[arg-type]
    return Fitter(encoder(dialect), context, task).fit([talk])[0]


def spoken(role: str, text: str, weight: int = 1) -> Spoken:
    return Spoken(message=Message(role=role, content=text, weight=weight))


texts = st.lists(st.sampled_from(SENTENCES), max_size=25).map(" ".join)
messages = st.builds(
    spoken,
    st.sampled_from(["user", "assistant", "assistant", "user", "tool"]),
    texts,
    st.integers(0, 1),
)
talks = st.builds(
    Conversation,
    spoken=st.lists(messages, min_size=1, max_size=12).map(tuple),
    system=st.sampled_from([None, "Be brief.", "A talk show."]),
)


@settings(max_examples=60, deadline=None)
@given(talks, st.sampled_from(CASES), st.integers(90, 300), st.integers(0, 3))
def test_every_row_fits_starts_with_the_user_and_no_word_is_lost(
    talk: Conversation, case: tuple[str, str], context: int, carry: int
) -> None:
    encoder = encoder_for(*case)
    fitter = Fitter(encoder, context, TaskConfig(name="podcast", carry_turns=carry))
    found = fitter.fit([talk])[0]
    placed = sum(m.words for row in found.rows for m in row.messages)
    folded = found.notes["tool results written as user turns"]
    words_in = talk.words_in + 4 * folded  # "Result of a tool:"
    assert placed + found.asked.total() + found.unasked.total() == words_in == found.words_in
    for row in found.rows:
        written = [m.spoken.message for m in row.messages]
        assert written[0].role == "user"
        system = [Message(role="system", content=talk.system, weight=0)] if talk.system else []
        whole = encoder.row([*system, *written])
        assert len(whole.ids) <= context
        overhead = fitter.counter.exact_overhead(talk.system, row.messages)
        assert len(whole.ids) == row.tokens + overhead
        assert sum(whole.trained) == sum(m.trained for m in row.messages) > 0


@settings(max_examples=40, deadline=None)
@given(talks, st.integers(90, 200))
def test_nothing_is_cut_within_a_word(talk: Conversation, context: int) -> None:
    known = {word for sentence in SENTENCES for word in sentence.split()}
    found = fit(talk, context)
    used = {w for row in found.rows for m in row.messages for w in m.spoken.message.content.split()}
    assert used <= known


def test_a_long_answer_is_cut_at_sentences_each_part_with_its_question_and_its_end() -> None:
    answer = " ".join(f"This is sentence number {n} of it." for n in range(40))
    found = fit(
        Conversation(spoken=(spoken("user", "And then?"), spoken("assistant", answer))), 120
    )
    parts = [row.messages[-1].spoken.message.content for row in found.rows]
    assert len(parts) > 2
    assert " ".join(parts) == answer
    assert all(part.endswith(" of it.") for part in parts)
    assert {row.cut for row in found.rows} == {"turn"}
    end = bytelevel().convert_tokens_to_ids("<|im_end|>")
    for place, row in enumerate(found.rows):
        question, said = (m.spoken.message for m in row.messages)
        assert (question.content, question.weight) == ("And then?", int(place == 0))
        encoded = encoder("chatml").message(said)
        assert [i for i, t in zip(encoded.ids, encoded.trained, strict=True) if t][-1] == end


def test_an_answer_that_fits_alone_is_never_cut() -> None:
    question = " ".join(f"Sentence {n} of the question." for n in range(14))
    answer = " ".join(f"Sentence {n} of the answer." for n in range(14))
    talk = Conversation(spoken=(spoken("user", question, 0), spoken("assistant", answer)))
    (row,) = fit(talk, 150).rows
    lead, said = (m.spoken.message for m in row.messages)
    assert said.content == answer
    assert question.endswith(lead.content)
    assert lead.content.startswith("Sentence ")
    found = fit(talk, 150)
    assert found.unasked.total() == len(question.split()) - len(lead.content.split())


def test_the_body_gives_way_and_the_target_stays_whole() -> None:
    body = " ".join(f"This is sentence {n} of the transcript." for n in range(50))
    head, foot, target = "Sum this up:\n\n", "\n\nIn a word.", "It says little, at length."
    talk = Conversation(
        spoken=(spoken("user", head + body + foot, 0), spoken("assistant", target)),
        gives_way=GivesWay.body,
        body=(len(head), len(head) + len(body)),
    )
    found = fit(talk, 150)
    (row,) = found.rows
    asked, answered = (m.spoken.message.content for m in row.messages)
    assert answered == target
    assert asked.startswith(head)
    assert asked.endswith(" of the transcript." + foot)
    assert body.startswith(asked.removeprefix(head).removesuffix(foot))
    assert row.cut == "body"
    assert found.notes == {CUT_BODY: 1}
    lost = len((head + body + foot).split()) - len(asked.split())
    assert found.asked == {WINDOW: lost}
    assert not found.unasked
    more = asked.removesuffix(foot) + " This is sentence 99 of the transcript." + foot
    longer = [Message(role="user", content=more), Message(role="assistant", content=target)]
    assert len(encoder("chatml").row(longer).ids) > 150


def test_a_target_that_does_not_fit_is_dropped_whole_and_nobody_asked_for_it() -> None:
    talk = Conversation(
        spoken=(spoken("user", "x " * 20, 0), spoken("assistant", "word " * 300)),
        gives_way=GivesWay.body,
        body=(0, 40),
    )
    found = fit(talk, 100)
    assert found.rows == []
    assert found.unasked == {"a target longer than the context": 320}


def test_nothing_to_learn_is_no_row() -> None:
    talk = Conversation(spoken=(spoken("user", "a b", 0), spoken("assistant", "c", 0)))
    found = fit(talk, 100)
    assert found.rows == []
    assert found.asked == Counter({"every message at weight 0": 3})


@pytest.mark.parametrize(("dialect", "joined"), [("chatml", 0), ("mistral_v1", 1)])
def test_neighbours_are_joined_where_the_template_alternates(dialect: str, joined: int) -> None:
    pieces = (spoken("assistant", "one"), spoken("assistant", "two"), spoken("user", "three"))
    found = fit(Conversation(spoken=pieces), 100, dialect)
    assert found.notes[JOINED] == joined
    assert found.notes[OPENED] == 1
    (row,) = found.rows
    roles = [m.role for m in row.messages]
    assert roles == ["user", *["assistant"] * (2 - joined), "user"]


def test_template_text_in_a_message_is_counted() -> None:
    fitter = Fitter(encoder("mistral_v1"), 100, TaskConfig(name="podcast"))
    said = "He typed [INST] there."
    fitter.fit([Conversation(spoken=(spoken("user", said), spoken("assistant", "So?")))])
    assert any("[INST]" in what for what in fitter.notes)
