"""Lines of rows as tensors. Legend: b lines, t tokens, n labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from understudy.chat.encoder import IGNORED
from understudy.kernels.rows import Rows, Span
from understudy.train.layout import Line, tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines padded on the right to the longest.

    There is no attention mask. Our attention is told where the rows lie; for transformers' own a
    position that does not follow the one before it opens a new row, and from that it builds the
    mask that keeps rows apart. Given a mask as well it would not, and rows would see each other.
    """

    ids_bt: Tensor
    positions_bt: Tensor
    """Counted from 0 in each row; the padding counts as a row of its own."""
    lengths_bt: Tensor
    """Length of the row that each token belongs to."""
    places_n: Tensor
    """Positions, in all lines end to end, that are to predict something: known on the host, as to
    ask the device for them would make it wait."""
    labels_n: Tensor
    """What they are to predict: the token that follows."""
    rows: Rows
    """Where the rows lie."""


def collate(lines: Sequence[Line], pad_id: int, device: object) -> Batch:
    """Lay rows end to end, pad the lines and shift the labels.

    Args:
        lines: b lines of one or more rows.
        pad_id: Any id; padding is never labelled, so even the end token will do.
        device: Where the tensors go.
    """
    longest = max(tokens(line) for line in lines)
    ids: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    lengths: list[int] = []
    bounds: list[int] = []
    spans: list[Span] = []
    for number, line in enumerate(lines):
        for example in line:
            length = len(example.ids)
            start = len(ids) - number * longest
            spans.append(Span(number, start, start + length))
            bounds.append(len(ids))
            ids += example.ids
            positions += range(length)
            labels += [*example.labels[1:], IGNORED]
            lengths += [length] * length
        gap = longest - tokens(line)
        if gap:
            bounds.append(len(ids))
            ids += [pad_id] * gap
            positions += range(gap)
            labels += [IGNORED] * gap
            lengths += [gap] * gap
    bounds.append(len(ids))
    places = [place for place, label in enumerate(labels) if label != IGNORED]
    longest_row = max(end - start for start, end in pairwise(bounds))
    shape = (len(lines), longest)
    return Batch(
        ids_bt=_tensor(ids, device).view(shape),
        positions_bt=_tensor(positions, device).view(shape),
        lengths_bt=_tensor(lengths, device).view(shape),
        places_n=_tensor(places, device),
        labels_n=_tensor([labels[place] for place in places], device),
        rows=Rows(tuple(spans), _tensor(bounds, device).int(), longest_row),
    )


def _tensor(values: list[int], device: object) -> Tensor:
    """On the device, without waiting for it to arrive there."""
    import torch

    on_host = torch.tensor(values, dtype=torch.long)
    if torch.device(device).type != "cuda":  # type: ignore[call-overload]
        return on_host.to(device)  # type: ignore[call-overload, no-any-return]
    return on_host.pin_memory().to(device, non_blocking=True)  # type: ignore[call-overload, no-any-return]
