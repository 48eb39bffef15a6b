"""Roles that a template lacks, turns that do not alternate: written by rule and counted."""

from __future__ import annotations

import json

from chat_encoders import CASES, V1, V3, encoder_for
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.chat import written as rules
from understudy.chat.dialect import DIALECTS
from understudy.chat.encoder import Encoder
from understudy.records.rows import Message

role = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])
message = st.builds(
    Message,
    role=role,
    content=st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12),
    weight=st.sampled_from([0, 1]),
    name=st.none() | st.sampled_from(["Maren", "get_weather"]),
)


def fresh(name: str, base: str) -> Encoder:
    return Encoder(encoder_for(name, base).tokenizer, DIALECTS[name])


@given(which=st.sampled_from(CASES), said=st.lists(message, max_size=6))
@settings(max_examples=250, deadline=None)
def test_no_order_of_roles_ever_raises(which: tuple[str, str], said: list[Message]) -> None:
    encoder = encoder_for(*which)
    encoded = encoder.row(said)
    assert len(encoded.ids) == len(encoded.trained)
    assert encoder.prompt(said)
    written = encoder.written(said)
    if encoder.dialect.alternates:
        wanted = ["user", "assistant"] * len(written)
        assert [one.role for one in written] == wanted[: len(written)]
    assert encoder.written(written) == written
    text = json.dumps([one.content for one in written]) + json.dumps(
        [getattr(one, "system", None) for one in written]
    )
    for one in said:
        assert json.dumps(one.content)[1:-1] in text


def test_neighbours_are_joined_and_learned_only_if_both_are() -> None:
    encoder = fresh("mistral_v1", V1)
    said = [
        Message(role="user", content="One."),
        Message(role="user", content="Two."),
        Message(role="assistant", content="Three.", weight=0),
        Message(role="assistant", content="Four."),
    ]
    one, two = encoder.written(said)
    assert (one.content, one.weight) == ("One.\n\nTwo.", 1)
    assert (two.content, two.weight) == ("Three.\n\nFour.", 0)
    assert encoder.notes == {rules.JOINED: 2, rules.WEIGHTS_DIFFER: 1}


def test_templates_that_do_not_alternate_keep_neighbours_apart() -> None:
    encoder = fresh("smollm2", "bytes")
    said = [Message(role="assistant", content="One."), Message(role="assistant", content="Two.")]
    assert [m.content for m in encoder.written(said)][1:] == ["One.", "Two."]
    assert not encoder.notes


def test_an_assistant_who_speaks_first_gets_an_empty_user_turn() -> None:
    encoder = fresh("mistral_v3", V3)
    user, assistant = encoder.written([Message(role="assistant", content="Hello.")])
    assert (user.role, user.content, user.weight) == ("user", "", 0)
    assert assistant.content == "Hello."
    assert encoder.notes == {rules.EMPTY_USER: 1}


def test_a_folded_system_text_is_read_not_learned() -> None:
    said = [
        Message(role="system", content="Be brief.", weight=0),
        Message(role="user", content="What is it for?"),
    ]
    for name, base in (("mistral_v1", V1), ("mistral_v3", V3), ("llama2", "pieces")):
        encoder = fresh(name, base)
        encoded = encoder.row(said)
        learned = [i for i, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
        assert encoder.text(learned).replace(" ", "").startswith("Whatisitfor?")
        assert "Be brief." in encoder.text(encoded.ids)
        assert encoder.notes == {rules.SYSTEM_FOLDED: 1}


def test_tools_and_names_are_written_into_the_text_where_the_template_has_no_place() -> None:
    encoder = fresh("mistral_v1", V1)
    said = [
        Message(role="user", content="How warm?", name="Maren"),
        Message(role="assistant", content="I look."),
        Message(role="tool", content="21", name="get_weather", weight=0),
    ]
    contents = [m.content for m in encoder.written(said)]
    assert contents == ["Maren: How warm?", "I look.", "Result of get_weather:\n21"]
    assert encoder.notes == {rules.NAME_FOLDED: 1, rules.TOOL_FOLDED: 1}


@given(which=st.sampled_from(CASES), said=st.lists(message, max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_message_is_counted_as_it_will_be_written(
    which: tuple[str, str], said: list[Message]
) -> None:
    encoder = encoder_for(*which)
    opening = Message(role="user", content="Hello.")
    said = [opening, *(one for one in said if one.role not in ("system", "developer"))]
    if not encoder.dialect.alternates:
        row = encoder.row(said)
        assert len(row.ids) == sum(encoder.counts(said)) + encoder.overhead(None)
