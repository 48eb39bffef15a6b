"""Cross-entropy through the head of a language model, in chunks of labels.

Logits of all labels at once, in fp32 and with their gradient, are the largest thing in memory when
a model of some hundred million parameters is trained. Where the head is frozen, a chunk's gradient
is made at once, in the forward pass, and its logits are let go (Liger, arXiv:2410.10989, section
3.2). Where it is trained, a chunk's logits are made again in the backward pass.

Legend: n labels, c labels of a chunk, h hidden, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]
"""Hidden states [c, h] to logits [c, v]."""
LOGITS_ON_CPU = 6 * 2**20
"""Logits of a chunk: 128 labels for 49,152 tokens, the fastest of 32 to 512."""
LOGITS_ON_GPU = 2**25
"""128 MiB of fp32, and a product large enough to fill the card."""


def head_loss(
    head: Head, hidden_nh: Tensor, labels_n: Tensor, vocabulary: int, *, frozen: bool
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each label, and whether the likeliest token was the right one.

    Args:
        head: Makes the logits.
        hidden_nh: What goes into it.
        labels_n: What should come out.
        vocabulary: How many logits there are.
        frozen: Whether nothing in the head is trained: only `hidden_nh` gets a gradient.

    Returns:
        Losses [n] in nats and fp32, and [n] of booleans.
    """
    on_gpu = hidden_nh.device.type == "cuda"
    chunk = max(1, (LOGITS_ON_GPU if on_gpu else LOGITS_ON_CPU) // vocabulary)
    if frozen:
        losses_n, correct_n = _FrozenHead.apply(hidden_nh, labels_n, head, chunk)  # type: ignore[no-untyped-call]
        return losses_n, correct_n
    pieces = zip(torch.split(hidden_nh, chunk), torch.split(labels_n, chunk), strict=True)
    found = [checkpoint(all_at_once, head, *piece, use_reentrant=False) for piece in pieces]
    losses, correct = zip(*found, strict=True)
    return torch.cat(losses), torch.cat(correct)


def all_at_once(head: Head, hidden_ch: Tensor, labels_c: Tensor) -> tuple[Tensor, Tensor]:
    """The same without chunks, left to autograd."""
    logits_cv = head(hidden_ch).float()
    losses_c = torch.nn.functional.cross_entropy(logits_cv, labels_c, reduction="none")
    return losses_c, logits_cv.detach().argmax(dim=-1) == labels_c


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden_nh: Tensor,
        labels_n: Tensor,
        head: Head,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        learns = ctx.needs_input_grad[0]
        losses_n = hidden_nh.new_empty(len(labels_n), dtype=torch.float32)
        correct_n = torch.empty_like(labels_n, dtype=torch.bool)
        grad_nh = torch.empty_like(hidden_nh) if learns else None
        # Memory of this size is new to the process each time it is asked for.
        wide: Tensor | None = None
        narrow: Tensor | None = None
        for start in range(0, len(labels_n), chunk):
            part = slice(start, start + chunk)
            labels_c1 = labels_n[part, None]
            count = len(labels_c1)
            hidden_ch = hidden_nh[part].detach().requires_grad_(learns)
            with torch.set_grad_enabled(learns):
                logits_cv = head(hidden_ch)
            found_cv = logits_cv.detach()
            if wide is None or narrow is None:
                wide = torch.empty_like(found_cv, dtype=torch.float32)
                narrow = torch.empty_like(found_cv)
            most_c1, likeliest_c1 = found_cv.max(dim=-1, keepdim=True)
            p_cv = wide[:count].copy_(found_cv)
            torch.softmax(p_cv, dim=-1, out=p_cv)
            # log sum exp, from the likeliest token's probability: that never underflows.
            log_sum_c1 = most_c1.float() - p_cv.gather(1, likeliest_c1).log()
            losses_n[part] = (log_sum_c1 - found_cv.gather(1, labels_c1))[:, 0]
            correct_n[part] = (likeliest_c1 == labels_c1)[:, 0]
            if grad_nh is not None:
                # d loss / d logits = softmax - one at the label.
                p_cv.scatter_add_(1, labels_c1, -torch.ones_like(log_sum_c1))
                grad_cv = narrow[:count].copy_(p_cv)
                (grad_nh[part],) = torch.autograd.grad(logits_cv, hidden_ch, grad_cv)
        ctx.mark_non_differentiable(correct_n)
        ctx.save_for_backward(grad_nh)
        return losses_n, correct_n

    @staticmethod
    def backward(ctx: Any, grad_n: Tensor, _: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (grad_nh,) = ctx.saved_tensors
        return (grad_nh * grad_n[:, None]).to(grad_nh.dtype), None, None, None
