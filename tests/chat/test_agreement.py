"""The dialect is recognised from the tokenizer's template, and held against it."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from chat_encoders import V1, V3, bytelevel, encoder_for, sentencepiece
from chat_templates import MISTRAL_V1, TEMPLATES

from understudy.chat import agreement
from understudy.chat.dialect import DIALECTS, find, recognise
from understudy.chat.encoder import Encoder
from understudy.config.model import ModelConfig
from understudy.console import UserError
from understudy.models.tokenizer import load_encoder


@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - {"base"}))
def test_each_template_is_recognised_and_agrees(name: str) -> None:
    tokenizer = encoder_for(name, "bytes").tokenizer
    found = recognise(tokenizer.chat_template, frozenset(tokenizer.get_added_vocab()))
    assert found.name == name
    agreement.check(Encoder(tokenizer, found))


@pytest.mark.parametrize(("file", "name"), [(V1, "mistral_v1"), (V3, "mistral_v3")])
def test_mistrals_generations_are_told_apart_by_their_control_tokens(file: str, name: str) -> None:
    tokenizer = copy.deepcopy(sentencepiece(file))
    tokenizer.chat_template = MISTRAL_V1
    assert recognise(MISTRAL_V1, frozenset(tokenizer.get_added_vocab())).name == name
    agreement.check(Encoder(tokenizer, DIALECTS[name]))


@pytest.mark.parametrize("template", [None, "{{ messages }}"])
def test_what_is_not_recognised_is_refused_with_the_list(template: str | None) -> None:
    with pytest.raises(UserError, match=r"model.dialect=null.*base, chatml, gemma.*zephyr"):
        recognise(template, frozenset())


@pytest.mark.parametrize("wrong", ["chatml", "qwen", "base"])
def test_another_template_than_the_tokenizers_own_is_refused(wrong: str) -> None:
    encoder = Encoder(bytelevel(), DIALECTS[wrong])
    with pytest.raises(UserError, match=rf"model.dialect={wrong} writes[\s\S]*own chat template"):
        agreement.check(encoder)


def test_a_model_without_a_dialect_gets_the_one_of_its_template(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = ModelConfig(name="any", base="package:smollm2_135m")
    assert load_encoder(config).dialect.name == "smollm2"
    assert "recognised as smollm2" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"model\.dialect=chatml writes"):
        load_encoder(dataclasses.replace(config, dialect="chatml"))


def test_a_tokenizer_without_the_control_tokens_is_refused() -> None:
    with pytest.raises(UserError, match=r"no token .*<\|start_header_id\|>.*dialect llama3"):
        Encoder(bytelevel(), DIALECTS["llama3"])


def test_an_unknown_dialect_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"model.dialect=klingon.*chatml.*mistral_v1"):
        find("klingon")


def test_every_dialect_has_an_identity_of_its_own() -> None:
    assert len({dialect.hash for dialect in DIALECTS.values()}) == len(DIALECTS)
