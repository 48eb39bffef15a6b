"""What the tests on a GPU share. Nothing is downloaded, and no package of weights is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_up
import pytest

from understudy.chat.encoder import IGNORED
from understudy.train.data import Example

VOCABULARY = made_up.words(200)
SIZE = 640
"""Entries of the vocabulary."""
SEED = 3


@pytest.fixture(scope="session")
def device() -> str:
    """`cuda`; the CPU in a rehearsal, which shows that the tests themselves are sound."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get("UNDERSTUDY_GPU_REHEARSAL"):
        return "cpu"
    pytest.skip("needs a CUDA device: make gpu")


def config(**changes: Any) -> Any:
    from transformers import LlamaConfig

    shape = {
        "vocab_size": SIZE,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "architectures": ["LlamaForCausalLM"],
    }
    return LlamaConfig(**{**shape, **changes})


Small = Callable[..., Any]


@pytest.fixture
def small(device: str) -> Small:
    """A small model as train computes it, with LoRA whose B is not zero; the same one each time."""

    def make(dtype: str = "float32", on: str = device, rank: int = 8) -> Any:
        import torch
        from transformers import LlamaForCausalLM

        from understudy.config.adapter import AdapterConfig
        from understudy.kernels import attention, lora
        from understudy.models import learned

        torch.manual_seed(SEED)
        attention.register()
        base = LlamaForCausalLM(config(attn_implementation=attention.NAME))
        base.requires_grad_(requires_grad=False)
        model = learned.attach(base, AdapterConfig(r=rank))
        torch.manual_seed(SEED)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
            elif not parameter.requires_grad:
                # The adapter stays in fp32.
                parameter.data = parameter.data.to(getattr(torch, dtype))
        lora.put_on(model)
        return model.to(on).train()

    return make


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Rows of several lengths, all but the first tokens learned."""
    import random

    draw = random.Random(SEED)
    rows = []
    for length in (17, 40, 9, 61):
        ids = [draw.randrange(2, SIZE) for _ in range(length)]
        labels = [IGNORED] * 3 + ids[3:]
        voices = [-1] * length
        rows.append(Example(ids=ids, labels=labels, item="made up", speakers=[], voices=voices))
    return rows


@pytest.fixture(scope="session")
def folder(device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, rows to train and rows held out."""
    where = tmp_path_factory.mktemp("made-up")
    encoder = made_up.tokenizer(VOCABULARY, SIZE)
    made_up.write_model(where / "model", config(), encoder, device)
    made_up.write_rows(where / "train.jsonl", encoder, VOCABULARY, 24, 128)
    made_up.write_rows(where / "valid.jsonl", encoder, VOCABULARY, 2, 128)
    return where
