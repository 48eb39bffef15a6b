"""One batch of prompts through one decoder. Legend: b prompts, t prompt tokens, n new tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from understudy.config.decoding import DecoderConfig, DecodingMethod


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model wrote."""

    ids: list[int]
    """New tokens, without the one that ended the turn."""
    finish_reason: str
    """`stop`: the model ended its turn. `length`: it was cut at the limit."""


def settings(decoder: DecoderConfig, *, max_new_tokens: int, end_id: int) -> dict[str, Any]:
    """The decoder in transformers' words; what is not set is switched off, never inherited."""
    common = {"max_new_tokens": max_new_tokens, "eos_token_id": end_id, "pad_token_id": end_id}
    if decoder.method is DecodingMethod.greedy:
        return {**common, "do_sample": False, "num_beams": 1}
    if decoder.method is DecodingMethod.beam:
        return {**common, "do_sample": False, "num_beams": decoder.beams}
    return {
        **common,
        "do_sample": True,
        "num_beams": decoder.beams or 1,
        "temperature": 1.0 if decoder.temperature is None else decoder.temperature,
        "top_p": 1.0 if decoder.top_p is None else decoder.top_p,
        "top_k": 0 if decoder.top_k is None else decoder.top_k,
    }


def continue_batch(
    model: Any,  # noqa: ANN401  # transformers has no types
    prompts: Sequence[Sequence[int]],
    options: dict[str, Any],
    seed: int,
) -> list[Continuation]:
    """Continue prompts side by side, padded on the left.

    Args:
        model: The base, alone or with an adapter switched on.
        prompts: b lists of token ids.
        options: From `settings`.
        seed: Seed of the sampling of this batch.
    """
    import torch
    from transformers import GenerationConfig

    end_id = options["eos_token_id"]
    longest = max(len(prompt) for prompt in prompts)
    gaps = [longest - len(prompt) for prompt in prompts]
    ids_bt = torch.tensor([[end_id] * g + list(p) for g, p in zip(gaps, prompts, strict=True)])
    mask_bt = torch.tensor([[0] * g + [1] * (longest - g) for g in gaps])
    torch.manual_seed(seed)
    with torch.no_grad():
        out_bn = model.generate(
            input_ids=ids_bt.to(model.device),
            attention_mask=mask_bt.to(model.device),
            generation_config=GenerationConfig(**options),
        )[:, longest:]
    return [_continuation(row, end_id) for row in out_bn.tolist()]


def _continuation(ids: list[int], end_id: int) -> Continuation:
    if end_id in ids:
        return Continuation(ids[: ids.index(end_id)], "stop")
    return Continuation(ids, "length")
