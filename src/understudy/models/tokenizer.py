"""Loads tokenizers: the fast ones only, without torch."""

from __future__ import annotations

from typing import Any

from understudy.chat import agreement
from understudy.chat.dialect import Dialect, find, recognise
from understudy.chat.encoder import Encoder
from understudy.config.model import ModelConfig
from understudy.console import UserError, say
from understudy.models import loading, weights


def load_tokenizer(config: ModelConfig) -> Any:  # noqa: ANN401  # transformers has no types
    """The base model's own tokenizer.

    Raises:
        UserError: there is no such model, or it has no fast tokenizer.
    """
    from transformers import AutoTokenizer

    loading.quiet()
    with weights.explained(config):
        tokenizer = AutoTokenizer.from_pretrained(
            weights.locate(config), trust_remote_code=False, **weights.options(config)
        )
    if not tokenizer.is_fast:
        raise UserError(f"model.base={config.base} has no fast tokenizer: choose another model.")
    return tokenizer


def load_encoder(config: ModelConfig) -> Encoder:
    """The tokenizer together with the dialect the model was made for.

    Raises:
        UserError: the dialect is not known, not recognised, or not what the tokenizer's own
            template writes.
    """
    named = _named(config)
    tokenizer = load_tokenizer(config)
    encoder = Encoder(tokenizer, named or _recognised(tokenizer))
    if named is None:
        name = encoder.dialect.name
        say(f"model.dialect: recognised as {name} from the tokenizer's chat template")
    agreement.check(encoder)
    return encoder


def dialect(config: ModelConfig) -> Dialect:
    """The dialect that the config names, else the one its tokenizer's template is recognised as.

    Raises:
        UserError: it is not known or not recognised.
    """
    return _named(config) or _recognised(load_tokenizer(config))


def _named(config: ModelConfig) -> Dialect | None:
    try:
        return None if config.dialect is None else find(config.dialect)
    except ValueError as error:
        raise UserError(str(error)) from None


def _recognised(tokenizer: Any) -> Dialect:  # noqa: ANN401  # transformers has no types
    return recognise(tokenizer.chat_template, frozenset(tokenizer.get_added_vocab()))
