"""Loss and accuracy as sums over supervised tokens.

Legend: b rows, t tokens, n labels, h hidden, v vocabulary.
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


def token_losses(model: Any, batch: Batch) -> TokenLosses:  # noqa: ANN401
    """Cross-entropy of each labelled position, -log p(label | what stands before it).

    Logits are made only where a label is: for a chat in which a third of the tokens is learned this
    saves two thirds of the largest matrix product and of the memory for it.
    """
    import torch

    labelled_bt = batch.labels_bt != IGNORED
    hidden_bth = _backbone(model)(
        input_ids=batch.ids_bt, attention_mask=batch.mask_bt, use_cache=False
    ).last_hidden_state
    logits_nv = model.get_output_embeddings()(hidden_bth[labelled_bt]).float()
    labels_n = batch.labels_bt[labelled_bt]
    losses_n = torch.nn.functional.cross_entropy(logits_nv, labels_n, reduction="none")
    correct_n = logits_nv.detach().argmax(dim=-1) == labels_n
    return TokenLosses(losses_n, correct_n)


def _backbone(model: Any) -> Any:  # noqa: ANN401
    """The decoder without its head, adapters in place."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.model
