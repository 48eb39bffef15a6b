"""Loss through the head in chunks, against cross-entropy over all logits at once."""

from __future__ import annotations

from typing import Any

import by_hand
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from understudy.config.model import Dtype
from understudy.kernels import head_loss
from understudy.train.batch import collate
from understudy.train.loss import head as logits_of
from understudy.train.loss import hidden_states, token_losses
from understudy.train.precision import Precision

VOCABULARY = 50


def plain(head: head_loss.Head, hidden: Tensor, labels: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(head(hidden).float(), labels, reduction="none")


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 40), chunk=st.integers(1, 45), frozen=st.booleans(), seed=st.integers(0, 9)
)
def test_loss_and_gradients_are_those_of_all_logits_at_once(
    count: int, chunk: int, seed: int, *, frozen: bool
) -> None:
    """Each label's loss weighs differently: the gradient made ahead must still be right."""
    torch.manual_seed(seed)
    head = nn.Linear(16, VOCABULARY, bias=False).double().requires_grad_(requires_grad=not frozen)
    hidden = torch.randn(count, 16, dtype=torch.float64)
    labels = torch.randint(VOCABULARY, (count,))
    weights = torch.randn(count)
    found = []
    for chunked in (False, True):
        inner = hidden.clone().requires_grad_()
        head.zero_grad()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(head_loss, "LOGITS_ON_CPU", chunk * VOCABULARY)
            if chunked:
                losses, correct = head_loss.head_loss(
                    head, inner, labels, VOCABULARY, frozen=frozen
                )
                assert torch.equal(correct, head(hidden).argmax(-1) == labels)
            else:
                losses = plain(head, inner, labels)
        (losses * weights).sum().backward()
        grads = [inner.grad] if frozen else [inner.grad, head.weight.grad]
        found.append([losses.detach(), *grads])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one.double(), other.double(), rtol=1e-5, atol=1e-6)


def test_logits_of_a_chunk_are_the_most_there_ever_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    head = nn.Linear(16, VOCABULARY).requires_grad_(requires_grad=False)

    def watched(hidden: Tensor) -> Tensor:
        seen.append(len(hidden))
        return head(hidden)  # type: ignore[no-any-return]

    monkeypatch.setattr(head_loss, "LOGITS_ON_CPU", 10 * VOCABULARY)
    hidden = torch.randn(37, 16, requires_grad=True)
    losses, _ = head_loss.head_loss(
        watched, hidden, torch.zeros(37, dtype=torch.long), VOCABULARY, frozen=True
    )
    losses.sum().backward()
    assert seen == [10, 10, 10, 7], "once each: the backward pass makes none"


@pytest.mark.parametrize("dtype", [Dtype.fp32, Dtype.bf16, Dtype.fp16])
@pytest.mark.parametrize(
    ("kind", "extra"),
    [("Llama", {}), ("Gemma2", {"final_logit_softcapping": 3.0}), ("Cohere", {"logit_scale": 0.3})],
)
@pytest.mark.parametrize("trains_head", [False, True])
def test_a_model_learns_the_same(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    extra: dict[str, Any],
    dtype: Dtype,
    *,
    trains_head: bool,
) -> None:
    """With what some architectures do after the head, and with a head that is trained."""
    monkeypatch.setattr(head_loss, "LOGITS_ON_CPU", 7 * by_hand.VOCABULARY)
    found = []
    for chunked in (False, True):
        model = by_hand.with_lora(by_hand.random_model(kind, dtype, **extra))
        if trains_head:
            model.get_output_embeddings().weight.requires_grad_()
        batch = collate([by_hand.talks(3, 1, longest=40), by_hand.talks(4, 1)], 0, "cpu")
        with Precision(dtype, "cpu").computing():
            if chunked:
                losses = token_losses(model, batch).losses_n
            else:
                hidden = hidden_states(model, batch).flatten(0, 1)[batch.places_n]
                losses = plain(lambda h, m=model: logits_of(m, h), hidden, batch.labels_n)
        losses.sum().backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        found.append([losses.detach(), *(p.grad for p in trained)])
    bound = {Dtype.fp32: 1e-5, Dtype.bf16: 0.03, Dtype.fp16: 0.005}[dtype]
    for one, other in zip(*found, strict=True):
        assert float((one.double() - other.double()).norm()) <= bound * float(other.double().norm())
