"""Tiny random models of the shipped experiments' architectures, with the real tokenizer.

A folder looks to the doors like the one from the hub: same tokens, same template, same kind of
blocks, a few thousandths of the size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chat_encoders import V1, sentencepiece
from chat_templates import LLAMA2, MISTRAL_V1

VOCABULARY = 32_000
"""Of Mistral v0.1 and Llama-2 alike."""


def mistral(folder: Path) -> Path:
    """Mistral-7B-Instruct v0.1's architecture: grouped queries, a window of 4096, head apart."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        **_sizes(heads=4, key_value_heads=2),
        sliding_window=4096,
        max_position_embeddings=32_768,
    )
    return _save(MistralForCausalLM, config, MISTRAL_V1, folder)


def llama2(folder: Path) -> Path:
    """Llama-2-7B-chat's architecture: no grouped queries, 4096 positions, no padding token.

    Its own tokenizer is gated; Mistral v0.1's is of the same kind and size.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**_sizes(heads=4, key_value_heads=4), max_position_embeddings=4096)
    return _save(LlamaForCausalLM, config, LLAMA2, folder)


def _sizes(*, heads: int, key_value_heads: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }


def _save(kind: Any, config: Any, template: str, folder: Path) -> Path:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer = sentencepiece(V1, scheme="hub")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder
