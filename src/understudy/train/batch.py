"""Lines of rows as tensors. Legend: b lines, t tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.chat.encoder import IGNORED
from understudy.train.layout import Line, tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines padded on the right to the longest.

    There is no attention mask: a position that does not follow the one before it opens a new row,
    and from that transformers builds the mask that keeps rows apart. Given a mask as well it would
    not, and rows would see each other.
    """

    ids_bt: Tensor
    positions_bt: Tensor
    """Counted from 0 in each row; the padding counts as a row of its own."""
    labels_bt: Tensor
    """What each position is to predict: shifted by one, IGNORED where nothing is."""
    lengths_bt: Tensor
    """Length of the row that each token belongs to."""


def collate(lines: Sequence[Line], pad_id: int, device: object) -> Batch:
    """Lay rows end to end, pad the lines and shift the labels.

    Args:
        lines: b lines of one or more rows.
        pad_id: Any id; padding is never labelled, so even the end token will do.
        device: Where the tensors go.
    """
    import torch

    longest = max(tokens(line) for line in lines)
    columns: tuple[list[list[int]], ...] = ([], [], [], [])
    for line in lines:
        gap = longest - tokens(line)
        ids: list[int] = []
        positions: list[int] = []
        labels: list[int] = []
        lengths: list[int] = []
        for example in line:
            length = len(example.ids)
            ids += example.ids
            positions += range(length)
            labels += [*example.labels[1:], IGNORED]
            lengths += [length] * length
        ids += [pad_id] * gap
        positions += range(gap)
        labels += [IGNORED] * gap
        lengths += [max(1, gap)] * gap
        for column, values in zip(columns, (ids, positions, labels, lengths), strict=True):
            column.append(values)
    return Batch(*(torch.tensor(rows, device=device) for rows in columns))  # type: ignore[arg-type]
