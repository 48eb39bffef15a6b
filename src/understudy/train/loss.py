"""Loss and accuracy as sums over supervised tokens.

Legend: b lines, t tokens, n labels, h hidden, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.chat.encoder import IGNORED
from understudy.train.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor


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

    Logits are made only where a label is: for a chat in which a third of the tokens is learned this
    saves two thirds of the largest matrix product and of the memory for it.
    """
    import torch

    labelled_bt = batch.labels_bt != IGNORED
    hidden_nh = hidden_states(model, batch, neftune_alpha)[labelled_bt]
    logits_nv = head(model, hidden_nh).float()
    labels_n = batch.labels_bt[labelled_bt]
    losses_n = torch.nn.functional.cross_entropy(logits_nv, labels_n, reduction="none")
    correct_n = logits_nv.detach().argmax(dim=-1) == labels_n
    return TokenLosses(losses_n, correct_n)


def hidden_states(model: Any, batch: Batch, neftune_alpha: float | None = None) -> Tensor:  # noqa: ANN401
    """What the last block gives for each token, [b, t, h]; rows of one line do not mix."""
    embedded_bth = model.get_input_embeddings()(batch.ids_bt)
    if neftune_alpha is not None:
        embedded_bth = _noised(embedded_bth, batch, neftune_alpha)
    output = _backbone(model)(
        inputs_embeds=embedded_bth,
        position_ids=batch.positions_bt,
        attention_mask=None,
        use_cache=False,
    )
    hidden_bth: Tensor = output.last_hidden_state
    return hidden_bth


def head(model: Any, hidden_nh: Tensor) -> Tensor:  # noqa: ANN401
    """Logits as the model itself makes them, [n, v]."""
    import torch

    logits_nv: Tensor = model.get_output_embeddings()(hidden_nh)
    # Gemma 2 bends its logits (arXiv:2408.00118, section 2); the head alone would leave that out.
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits_nv if cap is None else cap * torch.tanh(logits_nv / cap)


def _noised(embedded_bth: Tensor, batch: Batch, alpha: float) -> Tensor:
    """NEFTune: noise within alpha / sqrt(length of the row x width), whatever the layout."""
    import torch

    width = embedded_bth.shape[-1]
    reach_bt = alpha / torch.sqrt(batch.lengths_bt.float() * width)
    noise_bth = torch.empty_like(embedded_bth, dtype=torch.float32).uniform_(-1, 1)
    return embedded_bth + (noise_bth * reach_bt[..., None]).to(embedded_bth.dtype)


def _backbone(model: Any) -> Any:  # noqa: ANN401
    """The decoder without its head, adapters in place."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.model
