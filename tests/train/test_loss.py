"""Loss and accuracy are sums over supervised tokens, however the rows are laid out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch

from understudy.chat.encoder import IGNORED, Encoder
from understudy.config.model import Dtype
from understudy.console import RunFailedError, UserError
from understudy.records.rows import Message
from understudy.train import loss
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.evaluate import Evaluation, evaluate
from understudy.train.loss import check_head, check_head_of, token_losses
from understudy.train.precision import Precision


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with by_hand.one_thread():
        yield


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
    labels_bt = by_hand.labels_of(batch)
    assert bool((labels_bt[padding] == IGNORED).all())
    ends = int((labels_bt == 2).sum())
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


SMALL_MAMBA = {
    "mamba_d_ssm": 64,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 16,
    "mamba_chunk_size": 8,
}
HEADS: list[tuple[str, dict[str, Any]]] = [
    ("Llama", {}),
    ("Mistral", {"sliding_window": 8}),
    ("Qwen2", {}),
    # So small a cap that the bend shows on logits of a random model.
    ("Gemma2", {"final_logit_softcapping": 0.05}),
    ("Granite", {"logits_scaling": 7.0, "embedding_multiplier": 3.0}),
    ("GraniteMoe", {"logits_scaling": 7.0}),
    ("Cohere", {"logit_scale": 0.0625}),
    ("FalconH1", {"lm_head_multiplier": 3.0, **SMALL_MAMBA}),
    ("HyperCLOVAX", {"logits_scaling": 3.0}),
    ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
]
ROW = list(range(3, 40))


@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize(("architecture", "settings"), HEADS)
def test_logits_are_the_models_own(
    architecture: str, settings: dict[str, Any], dtype: Dtype
) -> None:
    net = by_hand.random_model(architecture, dtype, **settings)
    check_head_of(net, Precision(dtype, "cpu"), ROW)


@pytest.mark.parametrize(("architecture", "settings"), HEADS[3:9])
def test_a_way_to_make_logits_that_is_not_known_is_refused(
    architecture: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bf16 too, whose steps are the coarsest."""
    net = by_hand.random_model(architecture, Dtype.bf16, **settings)

    def bare(model: Any, hidden_nh: torch.Tensor) -> Any:
        return model.get_output_embeddings()(hidden_nh)

    monkeypatch.setattr(loss, "head", bare)
    with pytest.raises(UserError) as caught:
        check_head_of(net, Precision(Dtype.bf16, "cpu"), ROW)
    assert f"{type(net).__name__} cannot be trained yet" in str(caught.value)


def test_an_architecture_that_wants_more_than_embeddings_is_refused() -> None:
    net = by_hand.random_model("Gemma4Text", Dtype.bf16)
    with pytest.raises(UserError, match="Gemma4ForCausalLM cannot be trained yet: It seems like"):
        check_head_of(net, Precision(Dtype.bf16, "cpu"), ROW)


def test_logits_that_are_not_finite_are_no_fault_of_the_architecture() -> None:
    net = by_hand.random_model()
    net.lm_head.weight.data[7, 0] = float("inf")
    with pytest.raises(RunFailedError, match="LlamaForCausalLM are not finite"):
        check_head_of(net, Precision(Dtype.fp32, "cpu"), ROW)


def test_a_runs_head_is_checked_under_its_adapter_and_leaves_nothing(tmp_path: Path) -> None:
    net = by_hand.with_lora(by_hand.random_model("Granite", logits_scaling=7.0), dropout=0.5)
    run = by_hand.training(net, by_hand.talks(0, 4), tmp_path)
    before = torch.get_rng_state()
    check_head(run)
    assert net.training
    assert torch.equal(torch.get_rng_state(), before)
    assert loss.kind(net) == "GraniteForCausalLM"
