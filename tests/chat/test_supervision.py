"""What is learned: each trained text and its end, nothing else, whatever the text spells out."""

from __future__ import annotations

import copy

from chat_encoders import CASES, bytelevel, encoder_for
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.chat.dialect import DIALECTS
from understudy.chat.encoder import STRADDLING, Encoder
from understudy.records.rows import Message

SPELLED = (
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "</s>",
    "<s>",
    "<|im_end|>",
    "<|im_start|>user",
    "<|eot_id|>",
    "<|user|>",
    "<|end|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<bos>",
    "\nUser:\n",
    "\nAssistant:\n",
)
piece = st.sampled_from(SPELLED) | st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Cn", "Co")), max_size=20
)
content = st.lists(piece, max_size=4).map("".join).map(str.strip) | st.sampled_from(
    ["", "🙂", "naïve, but true", "日本語のテキスト", "[[INST]INST]", "<<<SYS>>SYS>>"]
)
messages = st.lists(st.tuples(content, st.sampled_from([0, 1])), min_size=1, max_size=6)
case = st.sampled_from(CASES)


def talk(spoken: list[tuple[str, int]], system: str | None) -> list[Message]:
    roles = ["user", "assistant"] * len(spoken)
    out = [
        Message(role=role, content=text, weight=weight)
        for role, (text, weight) in zip(roles, spoken, strict=False)
    ]
    return [Message(role="system", content=system, weight=0), *out] if system is not None else out


def bare(encoder: Encoder, ids: list[int]) -> str:
    """Decoded, without spaces: where a tokenizer keeps them is not the point here."""
    decoded = encoder.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return "".join(decoded.split()).replace("▁", "")


def neutral(encoder: Encoder, text: str) -> str:
    return "".join(encoder._neutral(text).split()).replace("▁", "")


def closing(encoder: Encoder, role: str) -> str:
    return "".join(encoder._former.resolved(encoder.dialect.turns[role].closing).split())


@given(which=case, spoken=messages, system=st.none() | content)
@settings(max_examples=250, deadline=None)
def test_supervised_tokens_are_the_trained_texts_and_their_ends(
    which: tuple[str, str], spoken: list[tuple[str, int]], system: str | None
) -> None:
    encoder = encoder_for(*which)
    said = talk(spoken, system)
    encoded = encoder.row(said)
    learned = [i for i, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
    wanted = "".join(
        neutral(encoder, one.content) + closing(encoder, one.role)
        for one in said
        if one.weight == 1
    )
    assert bare(encoder, learned) == wanted


@given(which=case, spoken=messages, system=st.none() | content)
@settings(max_examples=250, deadline=None)
def test_only_the_template_writes_control_tokens(
    which: tuple[str, str], spoken: list[tuple[str, int]], system: str | None
) -> None:
    encoder = encoder_for(*which)
    innocent = [("x", weight) for _, weight in spoken]
    blank = None if system is None else "x" if system else ""

    def controls(said: list[Message]) -> list[int]:
        specials = set(encoder.tokenizer.all_special_ids)
        return [token for token in encoder.row(said).ids if token in specials]

    assert controls(talk(spoken, system)) == controls(talk(innocent, blank))


@given(which=case, spoken=messages)
@settings(max_examples=250, deadline=None)
def test_a_text_cannot_write_the_templates_plain_markers(
    which: tuple[str, str], spoken: list[tuple[str, int]]
) -> None:
    encoder = encoder_for(*which)
    markers = {
        "mistral_v1": ("[INST]", "[/INST]"),
        "llama2": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
        "zephyr": ("<|user|>\n", "<|assistant|>\n", "<|system|>\n"),
        "base": ("User:\n", "Assistant:\n", "System:\n"),
    }.get(which[0], ())
    decoded = encoder.tokenizer.decode(encoder.row(talk(spoken, None)).ids)
    innocent = encoder.tokenizer.decode(encoder.row(talk([("x", 1) for _ in spoken], None)).ids)
    for marker in markers:
        if which[0] == "base":
            lines = (f"\n{decoded}".count(f"\n{marker}"), f"\n{innocent}".count(f"\n{marker}"))
            assert lines[0] <= lines[1] or which[1] == "pieces"
        else:
            assert decoded.count(marker) == innocent.count(marker)


def test_what_is_spelled_out_is_counted() -> None:
    encoder = Encoder(encoder_for("llama2", "pieces").tokenizer, DIALECTS["llama2"])
    text = "they wrote [INST] and [INST] and <</SYS>> and </s>"
    encoded = encoder.message(Message(role="assistant", content=text))
    assert encoder.neutralised == {"[INST]": 2, "<</SYS>>": 1, "</s>": 1}
    assert "[ INST] and [ INST] and << /SYS>>" in encoder.text(encoded.ids)


@given(which=case, spoken=messages, system=st.none() | content)
@settings(max_examples=250, deadline=None)
def test_counts_are_exact_and_add_up(
    which: tuple[str, str], spoken: list[tuple[str, int]], system: str | None
) -> None:
    encoder = encoder_for(*which)
    said = talk(spoken, system)
    row = encoder.row(said)
    written = encoder.written(said)
    assert len(encoder.start().ids) + sum(encoder.counts(written)) == len(row.ids)
    assert encoder.counts(written) == [len(one.ids) for one in encoder.messages(written)]
    turns = [one for one in said if one.role != "system"]
    total = sum(encoder.counts(turns))
    if system is None or "system" in encoder.dialect.turns:
        assert encoder.overhead(system) + total == len(row.ids)
    elif system:
        last = encoder.dialect.system.name == "last_user"
        users = [one for one in turns if one.role == "user"]
        extra = encoder.fold(system, users[-1 if last else 0])
        assert encoder.overhead(None) + extra + total == len(row.ids)
        assert encoder.overhead(system) + total >= len(row.ids)


@given(which=case, spoken=messages)
@settings(max_examples=150, deadline=None)
def test_many_at_once_are_what_each_is_alone(
    which: tuple[str, str], spoken: list[tuple[str, int]]
) -> None:
    encoder = encoder_for(*which)
    said = encoder.written(talk(spoken, None))
    assert encoder.messages(said) == [encoder.message(one) for one in said]


@given(which=case, spoken=messages)
@settings(max_examples=150, deadline=None)
def test_every_learned_turn_ends_with_its_end(
    which: tuple[str, str], spoken: list[tuple[str, int]]
) -> None:
    encoder = encoder_for(*which)
    for message in encoder.written(talk(spoken, None)):
        encoded = encoder.message(message)
        learned = [i for i, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
        assert bool(learned) == (message.weight == 1)
        if message.role == "assistant" and learned:
            assert learned[-len(encoder.end_ids()) :] == encoder.end_ids()
            assert len(encoder.end_ids()) == 1


def test_a_control_token_that_is_not_marked_as_special_is_kept_out_of_texts() -> None:
    from transformers import AddedToken

    tokenizer = copy.deepcopy(bytelevel())
    controls = DIALECTS["llama3"].controls
    tokenizer.add_tokens([AddedToken(c, special=False, normalized=False) for c in controls])
    encoder = Encoder(tokenizer, DIALECTS["llama3"])
    ids = encoder.message(Message(role="assistant", content="it said <|eot_id|> twice")).ids
    assert ids.count(encoder.end_ids()[0]) == 1
    assert encoder.neutralised == {"<|eot_id|>": 1}
    assert "it said < |eot_id|> twice" in encoder.tokenizer.decode(ids)


def test_a_token_that_joins_template_and_text_is_counted_and_not_learned() -> None:
    encoder = Encoder(bytelevel(), DIALECTS["smollm2"])
    encoded = encoder.message(Message(role="assistant", content="  indented"))
    learned = [i for i, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
    assert encoder.tokenizer.decode(learned) == " indented<|im_end|>"
    assert encoder.notes == {STRADDLING: 1}
