"""Loss and accuracy as sums over supervised tokens.

Legend: b lines, t tokens, n labels, h hidden, v vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.chat.encoder import IGNORED
from understudy.console import RunFailedError, UserError
from understudy.train import rng
from understudy.train.batch import Batch, collate
from understudy.train.data import Example

if TYPE_CHECKING:
    from torch import Tensor

    from understudy.train.precision import Precision
    from understudy.train.training import Training

MULTIPLIERS = ("logit_scale", "lm_head_multiplier")
"""Of Cohere's models and of Falcon H1."""
CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Of Gemma 2 (arXiv:2408.00118, section 2) and those after it, and of RecurrentGemma."""
HEAD_TOKENS = 64
HEAD_STEPS = 4
"""Most that our logits may differ from the model's own, in steps of the number format. Both come
from the same kernels on the same shapes: 0 was measured, on 30 architectures and in all formats."""
SUPPORTED = "Models like Llama, Mistral, Qwen, Gemma 2, Granite and Cohere can."


@dataclass(frozen=True, slots=True)
class TokenLosses:
    """What the model made of every supervised token of a batch, in reading order."""

    losses_n: Tensor
    """Cross-entropy in nats, fp32."""
    correct_n: Tensor
    """Whether the likeliest token was the right one."""


def token_losses(
    model: Any,  # noqa: ANN401  # transformers has no types
    batch: Batch,
    *,
    neftune_alpha: float | None = None,
) -> TokenLosses:
    """Cross-entropy of each labelled position, -log p(label | what stands before it in its row).

    Logits are made only where a label is, and a chunk of them at a time: for a chat in which a
    third of the tokens is learned this saves two thirds of the largest matrix product, and nearly
    all of the memory for it.
    """
    from understudy.kernels.head_loss import head_loss

    hidden_bth = hidden_states(model, batch, neftune_alpha)
    output = model.get_output_embeddings()
    losses_n, correct_n = head_loss(
        lambda hidden_ch: head(model, hidden_ch),
        hidden_bth.flatten(0, 1).index_select(0, batch.places_n),
        batch.labels_n,
        _base(model).config.get_text_config().vocab_size,
        frozen=not any(parameter.requires_grad for parameter in output.parameters()),
    )
    return TokenLosses(losses_n, correct_n)


def hidden_states(model: Any, batch: Batch, neftune_alpha: float | None = None) -> Tensor:  # noqa: ANN401
    """What the last block gives for each token, [b, t, h]; rows of one line do not mix."""
    embedded_bth = model.get_input_embeddings()(batch.ids_bt)
    if neftune_alpha is not None:
        embedded_bth = _noised(embedded_bth, batch, neftune_alpha)
    output = _backbone(model)(
        inputs_embeds=embedded_bth,
        position_ids=batch.positions_bt,
        use_cache=False,
        **_kept_apart(model, batch),
    )
    hidden_bth: Tensor = output.last_hidden_state
    return hidden_bth


def _kept_apart(model: Any, batch: Batch) -> dict[str, Any]:  # noqa: ANN401
    """What tells the attention which rows there are."""
    from understudy.kernels import attention

    if model.config.get_text_config()._attn_implementation != attention.NAME:  # noqa: SLF001
        return {"attention_mask": None}
    return {"attention_mask": attention.no_mask(batch.ids_bt.device), "rows": batch.rows}


def head(model: Any, hidden_nh: Tensor) -> Tensor:  # noqa: ANN401
    """Logits as the model itself makes them, [n, v]; `check_head` says whether they are.

    What some architectures do after the head is in their own `forward`, which would make logits for
    every token; so it is done again here.
    """
    import torch

    config = model.config.get_text_config()
    logits_nv: Tensor = model.get_output_embeddings()(hidden_nh)
    for name in MULTIPLIERS:
        factor = getattr(config, name, None)
        if factor is not None:
            logits_nv = logits_nv * factor
    divisor = getattr(config, "logits_scaling", None)
    if divisor is not None:
        # Of all that have it, HyperCLOVA X alone multiplies.
        multiplies = config.model_type == "hyperclovax"
        logits_nv = logits_nv * divisor if multiplies else logits_nv / divisor
    for name in CAPS:
        cap = getattr(config, name, None)
        if cap is not None:
            logits_nv = cap * torch.tanh(logits_nv / cap)
    return logits_nv


def check_head(run: Training) -> None:
    """Refuse an architecture whose logits are not made as `head` makes them.

    Raises:
        UserError: this architecture is not supported yet.
        RunFailedError: the logits are not finite.
    """
    shortest = min(run.data.train, key=lambda example: len(example.ids))
    check_head_of(run.model, run.precision, shortest.ids[:HEAD_TOKENS])


def check_head_of(model: Any, precision: Precision, ids: Sequence[int]) -> None:  # noqa: ANN401
    """The same for a model by itself and a short row.

    Raises:
        UserError: this architecture is not supported yet.
        RunFailedError: the logits are not finite.
    """
    import torch

    was_training = model.training
    model.eval()
    try:
        with rng.given_back(), torch.no_grad(), precision.computing():
            batch = collate([[_row(ids)]], 0, model.device)
            # With the same attention, so that only the head can differ.
            apart = _kept_apart(model, batch)
            own_tv = model(input_ids=batch.ids_bt, use_cache=False, **apart).logits[0].double()
            ours_tv = _logits_of(model, batch).double()
    finally:
        model.train(was_training)
    if not bool(own_tv.isfinite().all()):
        raise RunFailedError(
            f"the logits of {kind(model)} are not finite before anything was learned: look at the "
            "weights, or try another model.dtype."
        )
    bound = HEAD_STEPS * torch.finfo(getattr(torch, precision.dtype.value)).eps
    difference = _relative(ours_tv, own_tv)
    if not difference <= bound:
        raise UserError(
            f"{kind(model)} cannot be trained yet: it makes its logits in a way that is not known "
            f"here (relative difference {difference:.2g}, rounding explains {bound:.2g}). "
            f"{SUPPORTED}"
        )


def _row(ids: Sequence[int]) -> Example:
    labels = [IGNORED] * len(ids)
    return Example(ids=list(ids), labels=labels, item="", speakers=[], voices=[])


def _logits_of(model: Any, batch: Batch) -> Tensor:  # noqa: ANN401
    """Logits of one row by the path that training takes, [t, v]."""
    import torch

    try:
        return head(model, hidden_states(model, batch)[0])
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        # The model's own way has worked by now, so it is ours that does not fit it.
        reason = str(error).split(". ", maxsplit=1)[0].rstrip(".")
        raise UserError(f"{kind(model)} cannot be trained yet: {reason}. {SUPPORTED}") from error


def kind(model: Any) -> str:  # noqa: ANN401
    """The class of the base model, without what was put on it."""
    return type(_base(model)).__name__


def _relative(ours: Tensor, own: Tensor) -> float:
    import torch

    if ours.shape != own.shape:
        return math.inf
    return float(torch.linalg.vector_norm(ours - own) / torch.linalg.vector_norm(own))


def _noised(embedded_bth: Tensor, batch: Batch, alpha: float) -> Tensor:
    """NEFTune: noise within alpha / sqrt(length of the row x width), whatever the layout."""
    import torch

    width = embedded_bth.shape[-1]
    reach_bt = alpha / torch.sqrt(batch.lengths_bt.float() * width)
    noise_bth = torch.empty_like(embedded_bth, dtype=torch.float32).uniform_(-1, 1)
    return embedded_bth + (noise_bth * reach_bt[..., None]).to(embedded_bth.dtype)


def _backbone(model: Any) -> Any:  # noqa: ANN401
    """The decoder without its head, adapters in place."""
    return _base(model).base_model


def _base(model: Any) -> Any:  # noqa: ANN401
    return model.get_base_model() if hasattr(model, "get_base_model") else model
