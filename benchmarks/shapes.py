"""Sizes of known models, for models of random weights: their names are those of transformers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from surroundings import REPOSITORY

MISTRAL_7B = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32_768,
}
LLAMA_8B = {**MISTRAL_7B, "vocab_size": 128_256, "max_position_embeddings": 131_072}
"""Llama-3.1's."""
OWN: Mapping[str, Mapping[str, Any]] = {
    # The window of 4096 would be less work from there on.
    "Mistral": {"sliding_window": None},
    "Llama": {"rope_theta": 500_000.0},
}


def config_of(kind: str, sizes: Mapping[str, int]) -> Any:  # noqa: ANN401  # transformers has no types
    """Transformers' config of a `Mistral` or `Llama` of these sizes, its weights in bf16."""
    import transformers

    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    return getattr(transformers, f"{kind}Config")(
        **sizes,
        **ends,
        **OWN[kind],
        tie_word_embeddings=False,
        architectures=[f"{kind}ForCausalLM"],
        dtype="bfloat16",
    )


def made_up() -> ModuleType:
    """What the tests make models of random weights with."""
    sys.path.append(str(REPOSITORY / "tests" / "support"))
    import made_up

    return made_up
