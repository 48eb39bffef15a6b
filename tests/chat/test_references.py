"""Our ids against the reference: mistral-common's encoder, or the model's own chat template."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from chat_encoders import V1, V3, encoder_for, sentencepiece, stand_in
from chat_templates import MISTRAL_V1, TEMPLATES
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.chat.dialect import DIALECTS, System
from understudy.chat.encoder import Encoder
from understudy.records.rows import Message

BASES = ("bytes", "pieces", "hub")
characters = st.characters(blacklist_categories=("Cs",), blacklist_characters="[]<>|{}")
awkward = st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\n\nTwo\n\nthree. ",
        "  indented",
        "▁",
        " ▁x▁ ",
        "naïve 🙂🏳️‍🌈",
        "e\u0301",
        "User",
        "٣ و",
        "\u3000全角",
    ]
)
text = awkward | st.text(characters, max_size=40)
spoken_text = text.filter(lambda value: bool(value.strip()))
"""mistral-common refuses an assistant that says nothing."""


def talk(texts: list[str], system: str | None) -> list[Message]:
    roles = ["user", "assistant"] * len(texts)
    messages = [Message(role=r, content=t) for r, t in zip(roles, texts, strict=False)]
    if system is not None:
        messages.insert(0, Message(role="system", content=system, weight=0))
    return messages


def plain(messages: list[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def templated(encoder: Encoder, messages: list[Message], *, prompt: bool = False) -> list[int]:
    rendered = encoder.tokenizer.apply_chat_template(
        plain(messages), tokenize=True, add_generation_prompt=prompt
    )
    return list(rendered["input_ids"])


@pytest.mark.parametrize("name", sorted(TEMPLATES))
@given(
    base=st.sampled_from(BASES),
    texts=st.lists(text, min_size=1, max_size=5),
    system=st.none() | text,
)
@settings(max_examples=80, deadline=None)
def test_rows_and_prompts_equal_the_models_own_template(
    name: str, base: str, texts: list[str], system: str | None
) -> None:
    encoder = encoder_for(name, base)
    if name == "gemma":
        # Its template refuses a system message.
        system = None
    messages = talk(texts, system)
    assert encoder.row(messages).ids == templated(encoder, messages)
    if len(texts) % 2:
        assert encoder.prompt(messages) == templated(encoder, messages, prompt=True)


@pytest.mark.parametrize("name", ["llama2", "zephyr", "phi", "base"])
@given(texts=st.lists(text, min_size=1, max_size=4), system=st.none() | text)
@settings(max_examples=60, deadline=None)
def test_a_tokenizer_that_puts_its_space_at_the_start_only(
    name: str, texts: list[str], system: str | None
) -> None:
    encoder = spaced_once(name)
    messages = talk(texts, system)
    assert encoder.row(messages).ids == templated(encoder, messages)


@cache
def spaced_once(name: str) -> Encoder:
    return Encoder(stand_in(name, sentencepiece(V1, scheme="first")), DIALECTS[name])


@given(texts=st.lists(text, min_size=1, max_size=4), system=st.none() | text)
@settings(max_examples=60, deadline=None)
def test_control_tokens_that_swallow_the_space_behind_them(
    texts: list[str], system: str | None
) -> None:
    encoder = swallowing()
    messages = talk(texts, system)
    assert encoder.row(messages).ids == templated(encoder, messages)


@cache
def swallowing() -> Encoder:
    # Phi-3's tokenizer marks its control tokens so.
    return Encoder(stand_in("phi", sentencepiece(V1), rstrip=True), DIALECTS["phi"])


@cache
def reference(version: str) -> Any:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    return MistralTokenizer.v1() if version == V1 else MistralTokenizer.v3()


def referred(version: str, messages: list[Message]) -> list[int]:
    """What InstructTokenizerV1 or V3 makes of the messages, a whole row or a prompt."""
    from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
    from mistral_common.protocol.instruct.request import InstructRequest

    kinds = {"user": UserMessage, "assistant": AssistantMessage}
    spoken = [kinds[m.role](content=m.content) for m in messages if m.role != "system"]
    system = next((m.content for m in messages if m.role == "system"), None)
    request = InstructRequest(messages=spoken, system_prompt=system, available_tools=None)
    return list(reference(version).instruct_tokenizer.encode_instruct(request).tokens)


@pytest.mark.parametrize(("name", "version"), [("mistral_v1", V1), ("mistral_v3", V3)])
@given(texts=st.lists(spoken_text, min_size=1, max_size=6), system=st.none() | spoken_text)
@settings(max_examples=150, deadline=None)
def test_rows_and_prompts_equal_mistrals_reference_encoder(
    name: str, version: str, texts: list[str], system: str | None
) -> None:
    encoder = encoder_for(name, version)
    messages = talk(texts, system)
    assert encoder.row(messages).ids == referred(version, messages)
    if len(texts) % 2:
        assert encoder.prompt(messages) == referred(version, messages)


@pytest.mark.parametrize(("name", "version"), [("mistral_v1", V1), ("mistral_v3", V3)])
def test_a_request_through_mistrals_front_door_gives_the_same(name: str, version: str) -> None:
    from mistral_common.protocol.instruct.messages import (
        AssistantMessage,
        SystemMessage,
        UserMessage,
    )
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    kinds = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}
    messages = talk(["One", "Two", "Three"], "Be brief.")
    request = ChatCompletionRequest(messages=[kinds[m.role](content=m.content) for m in messages])
    expected = reference(version).encode_chat_completion(request).tokens
    assert encoder_for(name, version).prompt(messages) == expected


def test_version_3_writes_the_system_text_into_the_last_user_turn() -> None:
    encoder = encoder_for("mistral_v3", V3)
    assert DIALECTS["mistral_v3"].system is System.last_user
    decoded = encoder.tokenizer.decode(encoder.row(talk(["A", "B", "C", "D"], "Be brief.")).ids)
    assert decoded.index("A") < decoded.index("B") < decoded.index("Be brief.") < decoded.index("C")


def test_version_1_differs_from_its_hub_template_in_spaces_only() -> None:
    encoder = Encoder(sentencepiece(V1), DIALECTS["mistral_v1"])
    messages = talk(["One", "Two", "Three"], None)
    theirs = encoder.tokenizer.apply_chat_template(
        plain(messages), chat_template=MISTRAL_V1, tokenize=False
    )
    ours = encoder.tokenizer.decode(encoder.row(messages).ids)
    assert "".join(ours.split()) == "".join(theirs.split())


def test_qwens_tool_turn_equals_its_template() -> None:
    encoder = encoder_for("qwen", "bytes")
    messages = [*talk(["Hi", "Hello", "Look it up"], None), Message(role="tool", content="42")]
    assert encoder.row(messages).ids == templated(encoder, messages)
