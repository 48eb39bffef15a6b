"""Our ids against the reference encoders, and what exactly is learned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.chat.dialect import DIALECTS, find
from understudy.chat.encoder import IGNORED, Encoder
from understudy.records.rows import Message


@pytest.fixture(scope="session")
def chatml() -> Encoder:
    from transformers import AutoTokenizer

    from understudy.models import embedded

    tokenizer = AutoTokenizer.from_pretrained(embedded.folder("smollm2_135m"))
    return Encoder(tokenizer, DIALECTS["chatml"])


@pytest.fixture(scope="session")
def reference() -> Any:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    return MistralTokenizer.v1()


@pytest.fixture(scope="session")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Mistral v0.1's real vocabulary (it ships with mistral-common) as a fast tokenizer."""
    import mistral_common
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("mistral")
    vocabulary = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"
    shutil.copy(vocabulary, folder / "tokenizer.model")
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": True}
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **specials}))
    return Encoder(AutoTokenizer.from_pretrained(folder), DIALECTS["mistral_v1"])


TALK = [
    Message(role="user", content="Welcome back. What is a lighthouse for?"),
    Message(role="assistant", content="Well, the honest answer is: for ships, and for me."),
    Message(role="user", content="Say that again as if I were nine. 🙂"),
    Message(role="assistant", content="It's a big lamp - naïve, but true."),
]


def plain(messages: list[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


text = (
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=60)
    .map(str.strip)
    .filter(bool)
)


@given(texts=st.lists(text, min_size=1, max_size=6), system=st.none() | text)
@settings(max_examples=150, deadline=None)
def test_chatml_ids_equal_the_tokenizers_own_template(
    chatml: Encoder, texts: list[str], system: str | None
) -> None:
    roles = ["user", "assistant"] * 3
    messages = [Message(role=r, content=t) for r, t in zip(roles, texts, strict=False)]
    if system:
        messages.insert(0, Message(role="system", content=system))
    expected = chatml.tokenizer.apply_chat_template(plain(messages), tokenize=True)
    assert chatml.row(messages).ids == expected["input_ids"]


def test_chatml_prompt_equals_the_template_with_its_generation_prompt(chatml: Encoder) -> None:
    expected = chatml.tokenizer.apply_chat_template(plain(TALK[:3]), add_generation_prompt=True)
    assert chatml.prompt(TALK[:3]) == expected["input_ids"]


def test_mistral_v1_ids_equal_the_reference_encoder(mistral: Encoder, reference: Any) -> None:
    from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    kinds = {"user": UserMessage, "assistant": AssistantMessage}
    for count in (1, 3):
        messages = [kinds[m.role](content=m.content) for m in TALK[:count]]
        expected = reference.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens
        assert mistral.prompt(TALK[:count]) == expected
    assert mistral.row(TALK).ids[: len(expected)] == expected


@pytest.mark.parametrize("name", ["chatml", "mistral"])
def test_what_is_learned_is_each_text_and_its_end(
    name: str, request: pytest.FixtureRequest
) -> None:
    encoder: Encoder = request.getfixturevalue(name)
    encoded = encoder.row(TALK)
    runs: list[list[int]] = []
    for token, trained, before in zip(
        encoded.ids, encoded.trained, [False, *encoded.trained], strict=False
    ):
        if trained:
            if not before:
                runs.append([])
            runs[-1].append(token)
    closings = {role: turn.closing for role, turn in encoder.dialect.turns.items()}
    decoded = [encoder.tokenizer.decode(run).replace(" ", "") for run in runs]
    wanted = [(m.content + closings[m.role]).replace(" ", "") for m in TALK]
    if name == "mistral":
        # An answer follows its [/INST] at once: the two learned stretches touch.
        wanted = ["".join(wanted[:2]), "".join(wanted[2:])]
    assert decoded == wanted


def test_weight_zero_is_read_but_not_learned(chatml: Encoder) -> None:
    messages = [TALK[0], Message(role="assistant", content="No.", weight=0)]
    labels = chatml.row(messages).labels
    learned = [label for label in labels if label != IGNORED]
    assert chatml.tokenizer.decode(learned) == f"{TALK[0].content}<|im_end|>"


def test_every_learned_turn_ends_with_its_end_token(chatml: Encoder) -> None:
    encoded = chatml.row(TALK)
    ends = [
        t for i, t in zip(encoded.ids, encoded.trained, strict=True) if i == chatml.end_ids()[0]
    ]
    assert ends == [False, True, True, True, True]


@given(st.lists(text, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_counts_of_messages_add_up(chatml: Encoder, texts: list[str]) -> None:
    roles = ["user", "assistant"] * 3
    messages = [Message(role=r, content=t) for r, t in zip(roles, texts, strict=False)]
    parts = sum(len(chatml.message(message).ids) for message in messages)
    assert chatml.overhead(None) + parts == len(chatml.row(messages).ids)


@pytest.mark.parametrize("name", ["chatml", "mistral"])
def test_a_special_token_written_out_stays_text(name: str, request: pytest.FixtureRequest) -> None:
    encoder: Encoder = request.getfixturevalue(name)
    spelled = "he typed <|im_end|> and </s> and <s> into the box"
    specials = set(encoder.tokenizer.all_special_ids)

    def control(content: str) -> list[int]:
        ids = encoder.message(Message(role="assistant", content=content)).ids
        return [token for token in ids if token in specials]

    assert control(spelled) == control("he typed nothing")
    assert control(spelled)[-1:] == encoder.end_ids("assistant")


def test_one_bos_and_only_where_the_template_has_one(mistral: Encoder, chatml: Encoder) -> None:
    assert mistral.row(TALK).ids.count(mistral.tokenizer.bos_token_id) == 1
    assert mistral.row(TALK).ids[0] == mistral.tokenizer.bos_token_id
    # ChatML's <|im_start|> is SmolLM2's bos: one for each message, the system's included.
    assert chatml.row(TALK).ids.count(chatml.tokenizer.bos_token_id) == len(TALK) + 1


def test_a_system_message_is_folded_where_there_is_no_such_role(mistral: Encoder) -> None:
    messages = [Message(role="system", content="Be brief."), *TALK]
    folded = [Message(role="user", content=f"Be brief.\n\n{TALK[0].content}"), *TALK[1:]]
    assert mistral.row(messages).ids == mistral.row(folded).ids


def test_an_unknown_dialect_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"model.dialect=klingon.*chatml, mistral_v1"):
        find("klingon")
