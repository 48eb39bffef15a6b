"""Loss and accuracy are sums over supervised tokens, however the rows are laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.chat.encoder import IGNORED, Encoder
from understudy.config.model import Dtype
from understudy.records.rows import Message
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.evaluate import Evaluation, evaluate
from understudy.train.loss import token_losses
from understudy.train.precision import Precision


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def example(encoder: Encoder, texts: list[str], weights: list[int], item: str = "a") -> Example:
    roles = ["user", "assistant"] * len(texts)
    messages = [
        Message(role=r, content=t, weight=w) for r, t, w in zip(roles, texts, weights, strict=False)
    ]
    encoded = encoder.row(messages)
    voices = [0 if trained else -1 for trained in encoded.trained]
    return Example(ids=encoded.ids, labels=encoded.labels, item=item, speakers=["x"], voices=voices)


def plainly(micro_batch: int) -> Evaluation:
    return Evaluation(micro_batch=micro_batch, pad_id=2, precision=Precision(Dtype.fp32, "cpu"))


@pytest.fixture(scope="module")
def examples(encoder: Encoder) -> list[Example]:
    return [
        example(encoder, ["Hello there.", "Hi."], [1, 1]),
        example(encoder, ["A much longer question, is it not?", "Yes, it is.", "Why?"], [0, 1, 1]),
        example(encoder, ["One", "Two", "Three", "Four and five and six"], [1, 0, 0, 1], "b"),
    ]


def test_the_loss_is_transformers_own_on_one_row(model: Any, examples: list[Example]) -> None:
    for one in examples:
        ids, labels = torch.tensor([one.ids]), torch.tensor([one.labels])
        expected = model(input_ids=ids, labels=labels).loss
        losses = token_losses(model, collate([[one]], 2, "cpu")).losses_n
        assert len(losses) == one.supervised
        torch.testing.assert_close(losses.mean(), expected)


def test_padding_changes_no_tokens_loss(model: Any, examples: list[Example]) -> None:
    together = token_losses(model, collate([[one] for one in examples], 2, "cpu")).losses_n
    alone = [token_losses(model, collate([[one]], 2, "cpu")).losses_n for one in examples]
    torch.testing.assert_close(together, torch.cat(alone))


def test_padding_is_never_labelled_even_where_it_is_the_end_token(
    examples: list[Example],
) -> None:
    batch = collate([[one] for one in examples], 2, "cpu")
    real = [len(one.ids) for one in examples]
    padding = torch.stack([torch.arange(batch.ids_bt.shape[1]) >= length for length in real])
    assert bool((batch.labels_bt[padding] == IGNORED).all())
    ends = int((batch.labels_bt == 2).sum())
    assert ends == sum(one.labels.count(2) for one in examples)


def test_held_out_loss_does_not_move_with_the_batch(model: Any, examples: list[Example]) -> None:
    scores = [evaluate(model, examples * 3, plainly(size), "test").total for size in (1, 2, 4, 9)]
    for other in scores[1:]:
        assert other.tokens == scores[0].tokens
        assert other.correct == scores[0].correct
        assert other.loss == pytest.approx(scores[0].loss, rel=1e-6)
    losses = [token_losses(model, collate([[one]], 2, "cpu")).losses_n for one in examples]
    assert scores[0].mean_loss == pytest.approx(float(torch.cat(losses).detach().mean()), rel=1e-6)


def test_scores_by_item_add_up(model: Any, examples: list[Example]) -> None:
    scores = evaluate(model, examples, plainly(2), "test")
    assert {item for item, _ in scores.parts} == {"a", "b"}
    assert sum(part.tokens for part in scores.parts.values()) == scores.total.tokens
    assert sum(part.loss for part in scores.parts.values()) == pytest.approx(scores.total.loss)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_micro_batches_change_neither_loss_nor_gradient(
    model: Any, encoder: Encoder, data: st.DataObject
) -> None:
    word = st.sampled_from(["tea", "bench", "bees", "a long and winding answer", "no"])
    rows = data.draw(st.lists(st.lists(word, min_size=2, max_size=4), min_size=4, max_size=4))
    weights = [data.draw(st.lists(st.integers(0, 1), min_size=4, max_size=4)) for _ in rows]
    examples = [example(encoder, r, [1, *w[1:]]) for r, w in zip(rows, weights, strict=True)]
    count = sum(one.supervised for one in examples)
    results = []
    for size in (1, 2, 4):
        model.zero_grad()
        total = 0.0
        for start in range(0, 4, size):
            lines = [[one] for one in examples[start : start + size]]
            losses = token_losses(model, collate(lines, 2, "cpu")).losses_n
            (losses.sum() / count).backward()
            total += float(losses.detach().sum())
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
        results.append((total / count, float(norm)))
    for loss, norm in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-5)
        assert norm == pytest.approx(results[0][1], rel=1e-5)
