"""Models made up on the spot: real shapes, random weights, a tokenizer learned from random words.

Nothing is downloaded, so they serve where there is a GPU and no network.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START, END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPREAD = 0.02
"""Standard deviation of random weights, as the models' own initialisation has it."""
SHARD_BYTES = 2 * 2**30
WORDS_A_TOPIC = 20


def words(count: int) -> list[str]:
    """Made-up words of two to four syllables, the same each time."""
    draw = random.Random(count)
    syllables = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(draw.choices(syllables, k=draw.randint(2, 4)))] = None
    return list(found)


def tokenizer(vocabulary: Sequence[str], size: int) -> Any:
    """A byte-level BPE of at most `size` entries, with ChatML's control tokens and template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([f"user assistant {' '.join(vocabulary)}"] * 2, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, pad_token=END)
    made.chat_template = CHATML
    return made


def write_model(folder: Path, config: Any, encoder: Any, device: str) -> int:
    """Write a model folder with random bf16 weights, in shards; returns their bytes.

    The model is never held: each tensor is drawn on `device` and goes out with its shard.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    encoder.save_pretrained(folder)
    with torch.device("meta"):
        shapes = AutoModelForCausalLM.from_config(config).state_dict()
    generator = torch.Generator(device).manual_seed(0)
    shards = _shards({name: tensor.numel() * 2 for name, tensor in shapes.items()})
    places: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        drawn = {name: _draw(name, tuple(shapes[name].shape), generator) for name in names}
        save_file(drawn, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def _shards(sizes: dict[str, int]) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    return shards


def _draw(name: str, shape: tuple[int, ...], generator: Any) -> Any:
    import torch

    tensor = torch.empty(shape, dtype=torch.bfloat16, device=generator.device)
    if name.endswith("norm.weight"):
        return tensor.fill_(1).cpu()
    return tensor.normal_(0, SPREAD, generator=generator).cpu()


def write_rows(path: Path, encoder: Any, vocabulary: Sequence[str], count: int, size: int) -> None:
    """Write chats that fill `size` tokens, all but the opening learned; each has words of its own.

    Args:
        path: The JSONL file.
        encoder: A tokenizer.
        vocabulary: The words to draw from.
        count: Rows.
        size: Tokens of a row, template included; rows come close and never above.
    """
    lines = []
    for number in range(count):
        draw = random.Random(f"{path.name}/{number}")
        topic = draw.sample(list(vocabulary), WORDS_A_TOPIC)
        question = {"role": "user", "content": " ".join(topic[:4])}
        frame = encoder.apply_chat_template(
            [question, {"role": "assistant", "content": ""}], tokenize=False
        )
        room = size - len(encoder(frame)["input_ids"])
        text = " ".join(draw.choices(topic, k=size))
        offsets = encoder(text, return_offsets_mapping=True)["offset_mapping"]
        # The last word is cut off whole: half a word would be other tokens.
        text = text[: offsets[room - 1][0]].rsplit(" ", 1)[0]
        messages = [question, {"role": "assistant", "content": text}]
        lines.append(json.dumps({"messages": messages}) + "\n")
    path.write_text("".join(lines))
