"""Examples side by side as tensors. Legend: b rows, t tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.chat.encoder import IGNORED
from understudy.train.data import Example

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right to the longest."""

    ids_bt: Tensor
    mask_bt: Tensor
    """1 for real tokens, 0 for padding."""
    labels_bt: Tensor
    """What each position is to predict: shifted by one, IGNORED where nothing is."""


def collate(examples: Sequence[Example], pad_id: int, device: object) -> Batch:
    """Pad rows and shift their labels.

    Args:
        examples: b rows.
        pad_id: Any id; padding is masked and never labelled, so even the end token will do.
        device: Where the tensors go.
    """
    import torch

    longest = max(len(example.ids) for example in examples)
    ids, mask, labels = [], [], []
    for example in examples:
        gap = longest - len(example.ids)
        ids.append(example.ids + [pad_id] * gap)
        mask.append([1] * len(example.ids) + [0] * gap)
        labels.append(example.labels[1:] + [IGNORED] * (gap + 1))
    return Batch(*(torch.tensor(rows, device=device) for rows in (ids, mask, labels)))  # type: ignore[arg-type]
