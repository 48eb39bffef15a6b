"""Causal attention on a CPU, by blocks of queries.

torch's own kernel for CPUs takes most of its time in a backward pass that uses few of the
processor's matrix products.

Legend: b lines, t tokens, h heads, k heads of keys and values, g = h / k, d width of a head, n
queries of a block, m keys that a block sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from understudy.kernels.rows import Span

BLOCK = 64
"""Queries that are computed together: with 32 and with 128 it was slower at every length."""
KEPT = 1024
"""Tokens of the longest row whose probabilities are kept for the backward pass. They take about
h x t^2 bytes in half precision; to make them again is a third of the time."""


class Blockwise(torch.autograd.Function):
    """FlashAttention-2 (arXiv:2307.08691) with blocks of queries, each against all its keys.

    Scores and sums are in fp32 at least, probabilities and their gradients in the format of the
    values, as in torch's own kernel.
    """

    @staticmethod
    def forward(  # noqa: D102  # autograd's
        ctx: Any,  # noqa: ANN401
        query_bhtd: Tensor,
        key_bktd: Tensor,
        value_bktd: Tensor,
        spans: tuple[Span, ...],
        scale: float,
        window: int | None,
    ) -> Tensor:
        lines, heads, tokens, _ = query_bhtd.shape
        out_bthd = value_bktd.new_zeros(lines, tokens, heads, value_bktd.shape[-1])
        keeps = any(ctx.needs_input_grad) and max(span.length for span in spans) <= KEPT
        kept: list[Tensor] = []
        for span in spans:
            row = _Row(query_bhtd, key_bktd, value_bktd, span, scale, window)
            out_kgtd = _grouped(out_bthd, span, row.heads)
            for first, last, start in row.blocks():
                p_kgnm = row.probabilities(first, last, start).to(value_bktd.dtype)
                out_knd = torch.bmm(p_kgnm.flatten(1, 2), row.value_ktd[:, start:last])
                out_kgtd[:, :, first:last] = out_knd.view(*p_kgnm.shape[:3], -1)
                if keeps:
                    kept.append(p_kgnm)
        ctx.save_for_backward(query_bhtd, key_bktd, value_bktd, out_bthd, *kept)
        ctx.given = spans, scale, window
        return out_bthd

    @staticmethod
    def backward(ctx: Any, grad_bthd: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        query_bhtd, key_bktd, value_bktd, out_bthd, *kept = ctx.saved_tensors
        spans, scale, window = ctx.given
        grad_bthd = grad_bthd.contiguous()
        found = tuple(torch.zeros_like(each) for each in (query_bhtd, key_bktd, value_bktd))
        for span in spans:
            row = _Row(query_bhtd, key_bktd, value_bktd, span, scale, window)
            count = len(list(row.blocks()))
            mine, kept = kept[:count], kept[count:]
            grads = _row_backward(
                row, _grouped(grad_bthd, span, row.heads), _grouped(out_bthd, span, row.heads), mine
            )
            for whole, part in zip(found, grads, strict=True):
                whole[span.line, :, span.start : span.end] = part
        return (*found, None, None, None)


def _row_backward(
    row: _Row, grad_kgtd: Tensor, out_kgtd: Tensor, kept: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a row's queries [h, t, d], keys and values [k, t, d]."""
    narrow, wide = row.value_ktd.dtype, row.wide
    # The sum over a softmax's keys of p x dp is that over the width of out x dout.
    inner_kgt = (grad_kgtd.to(wide) * out_kgtd.to(wide)).sum(-1)
    scaled_kgtd = row.query_kgtd * row.scale
    dq_kgtd = torch.empty_like(scaled_kgtd)
    dk_ktd = torch.zeros_like(row.key_ktd, dtype=wide)
    dv_ktd = torch.zeros_like(row.value_ktd, dtype=wide)
    for number, (first, last, start) in enumerate(row.blocks()):
        p_kgnm = kept[number] if kept else row.probabilities(first, last, start)
        dout_knd = grad_kgtd[:, :, first:last].flatten(1, 2)
        narrow_knm = p_kgnm.to(narrow).flatten(1, 2)
        dv_ktd[:, start:last] += torch.bmm(narrow_knm.transpose(1, 2), dout_knd)
        dp_knm = torch.bmm(dout_knd, row.value_ktd[:, start:last].transpose(1, 2))
        ds_kgnm = dp_knm.to(wide).view_as(p_kgnm)
        ds_kgnm.sub_(inner_kgt[:, :, first:last, None]).mul_(p_kgnm)
        ds_knm = ds_kgnm.to(narrow).flatten(1, 2)
        dq_knd = torch.bmm(ds_knm, row.key_ktd[:, start:last])
        dq_kgtd[:, :, first:last] = dq_knd.view(*p_kgnm.shape[:3], -1)
        query_knd = scaled_kgtd[:, :, first:last].flatten(1, 2)
        dk_ktd[:, start:last] += torch.bmm(ds_knm.transpose(1, 2), query_knd)
    return dq_kgtd.mul_(row.scale).flatten(0, 1), dk_ktd, dv_ktd


class _Row:
    """One row's queries, keys and values, and the scores between them."""

    def __init__(
        self,
        query_bhtd: Tensor,
        key_bktd: Tensor,
        value_bktd: Tensor,
        span: Span,
        scale: float,
        window: int | None,
    ) -> None:
        place = (span.line, slice(None), slice(span.start, span.end))
        self.key_ktd, self.value_ktd = key_bktd[place], value_bktd[place]
        self.heads, self.length = self.key_ktd.shape[:2]
        self.query_kgtd = query_bhtd[place].view(self.heads, -1, self.length, query_bhtd.shape[-1])
        self.scale, self.window = scale, window
        self.wide = torch.promote_types(query_bhtd.dtype, torch.float32)
        self._query_kgtd = self.query_kgtd.to(self.wide) * scale
        self._key_kdt = self.key_ktd.to(self.wide).transpose(1, 2)
        hidden_nn = torch.full((BLOCK, BLOCK), -math.inf, dtype=self.wide)
        self._ahead_nn = hidden_nn.triu(1)

    def blocks(self) -> Iterator[tuple[int, int, int]]:
        """First query, the one after the last, and the first key that any of them sees."""
        for first in range(0, self.length, BLOCK):
            last = min(self.length, first + BLOCK)
            yield first, last, 0 if self.window is None else max(0, first - self.window + 1)

    def probabilities(self, first: int, last: int, start: int) -> Tensor:
        """Of the keys `start` to `last`, for a block's queries, [k, g, n, m], fp32 at least."""
        query_knd = self._query_kgtd[:, :, first:last].flatten(1, 2)
        score_knm = torch.bmm(query_knd, self._key_kdt[:, :, start:last])
        count = last - first
        score_kgnm = score_knm.view(self.heads, -1, count, last - start)
        score_kgnm[..., first - start :] += self._ahead_nn[:count, :count]
        if self.window is not None:
            self._hide_behind(score_kgnm, first, start)
        return torch.softmax(score_kgnm, dim=-1)

    def _hide_behind(self, score_kgnm: Tensor, first: int, start: int) -> None:
        """Hide the keys that have left a query's window."""
        assert self.window is not None
        count, keys = score_kgnm.shape[-2:]
        query_n1 = torch.arange(first, first + count)[:, None]
        key_1m = torch.arange(start, start + keys)[None, :]
        score_kgnm.masked_fill_(query_n1 - key_1m >= self.window, -math.inf)


def _grouped(states_bthd: Tensor, span: Span, heads: int) -> Tensor:
    """A row's [t, h, d] as [k, g, t, d]; no copy."""
    states_thd = states_bthd[span.line, span.start : span.end]
    length, _, width = states_thd.shape
    return states_thd.view(length, heads, -1, width).permute(1, 2, 0, 3)
