"""Loads tokenizers: the fast ones only, without torch."""

from __future__ import annotations

from typing import Any

from understudy.chat.dialect import find
from understudy.chat.encoder import Encoder
from understudy.config.model import ModelConfig
from understudy.console import UserError
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
        UserError: the dialect is not known.
    """
    try:
        dialect = find(config.dialect)
    except ValueError as error:
        raise UserError(str(error)) from None
    return Encoder(load_tokenizer(config), dialect)
