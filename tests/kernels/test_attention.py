"""Attention row by row, on a CPU and as torch does it, against plain softmax in fp64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.config.model import Dtype
from understudy.kernels import attention, blockwise
from understudy.kernels.blockwise import Blockwise
from understudy.kernels.rows import Rows, Span
from understudy.models.base import load_base
from understudy.train.batch import collate
from understudy.train.loss import hidden_states, token_losses
from understudy.train.precision import Precision

Lines = Sequence[Sequence[int]]


def rows_of(lines: Lines) -> Rows:
    """Rows of these lengths, line by line."""
    longest = max(map(sum, lines))
    spans, bounds = [], []
    for number, lengths in enumerate(lines):
        place = 0
        for length in lengths:
            spans.append(Span(number, place, place + length))
            bounds.append(number * longest + place)
            place += length
        if place < longest:
            bounds.append(number * longest + place)
    bounds.append(len(lines) * longest)
    gaps = [later - earlier for earlier, later in itertools.pairwise(bounds)]
    return Rows(tuple(spans), torch.tensor(bounds, dtype=torch.int32), max(gaps))


def states(lines: Lines, heads: int, groups: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys, values and a gradient, as a model's layers lay them out."""
    generator = torch.Generator().manual_seed(7)
    tokens = max(map(sum, lines))
    shapes = [(heads, 2.0), (heads // groups, 1.0), (heads // groups, 1.0)]
    made = [
        torch.randn(len(lines), tokens, count, width, generator=generator).transpose(1, 2) * size
        for count, size in shapes
    ]
    made.append(torch.randn(len(lines), tokens, heads, width, generator=generator))
    return [each.to(dtype) for each in made]


def truth(query: Tensor, key: Tensor, value: Tensor, rows: Rows, window: int | None) -> Tensor:
    """Softmax over what each query sees, written down as it is defined."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    found = query.new_zeros(query.shape[0], query.shape[2], query.shape[1], query.shape[3])
    for span in rows.spans:
        part = (span.line, slice(None), slice(span.start, span.end))
        score = query[part] @ key[part].transpose(1, 2) / math.sqrt(query.shape[-1])
        place = torch.arange(span.length)
        behind = place[:, None] - place[None, :]
        seen = (behind >= 0) & (behind < (window or span.length))
        p = torch.softmax(score.masked_fill(~seen, -math.inf), dim=-1)
        found[span.line, span.start : span.end] = (p @ value[part]).transpose(0, 1)
    return found


def with_gradients(found: Tensor, inputs: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    return [found.detach(), *torch.autograd.grad(found, inputs, grad)]


def apart(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Relative, but for what is next to nothing: one token alone gives its query no gradient."""
    return max(
        float((one.double() - other.double()).norm() / other.double().norm().clamp(min=1))
        for one, other in zip(ones, others, strict=True)
    )


def compared(
    lines: Lines, *, heads: int, groups: int, width: int, window: int | None, dtype: torch.dtype
) -> tuple[float, float]:
    """How far ours and torch's are from the truth, output and gradients."""
    rows = rows_of(lines)
    made = states(lines, heads, groups, width, dtype)
    grad = made.pop()
    exact = [each.double().requires_grad_() for each in made]
    expected = with_gradients(truth(*exact, rows, window), exact, grad.double())
    scale = 1 / math.sqrt(width)
    mine = [each.detach().requires_grad_() for each in made]
    ours = with_gradients(Blockwise.apply(*mine, rows.spans, scale, window), mine, grad)
    theirs = [each.detach().requires_grad_() for each in made]
    found = attention._row_by_row(*theirs, rows, scale, window)
    return apart(ours, expected), apart(with_gradients(found, theirs, grad), expected)


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(st.lists(st.integers(1, 150), min_size=1, max_size=3), min_size=1, max_size=3),
    shape=st.sampled_from([(4, 1), (4, 2), (6, 6)]),
    window=st.one_of(st.none(), st.integers(1, 160)),
    keeps=st.booleans(),
)
def test_every_row_sees_itself_alone_to_the_last_digit(
    lines: Lines, shape: tuple[int, int], window: int | None, *, keeps: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise, "KEPT", 1000 if keeps else 0)
        heads, groups = shape
        found = compared(
            lines, heads=heads, groups=groups, width=8, window=window, dtype=torch.float64
        )
    assert max(found) < 1e-12


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 0.008), (torch.float16, 0.001)]
)
@pytest.mark.parametrize("keeps", [True, False])
def test_in_every_format_it_is_as_near_to_the_truth_as_torchs(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, bound: float, *, keeps: bool
) -> None:
    monkeypatch.setattr(blockwise, "KEPT", 1000 if keeps else 0)
    ours, theirs = compared(
        [[300, 41], [257]], heads=9, groups=3, width=64, window=None, dtype=dtype
    )
    assert ours < bound
    assert ours < 2.5 * theirs


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("Llama", {}),
        ("Mistral", {"sliding_window": None}),
        ("Mistral", {"sliding_window": 20}),
        ("Qwen2", {}),
        ("Qwen3", {}),
    ],
)
def test_a_model_says_and_learns_the_same_with_it(kind: str, extra: dict[str, Any]) -> None:
    """Two rows in one line and a padded one, LoRA everywhere: states, losses and gradients."""
    attention.register()
    lines = [by_hand.talks(5, 2, longest=20), by_hand.talks(6, 1, longest=60)]
    found = []
    for name in ("eager", attention.NAME):
        model = by_hand.with_lora(by_hand.random_model(kind, attention=name, **extra))
        batch = collate(lines, 0, "cpu")
        states_bth = hidden_states(model, batch)
        labelled = states_bth.flatten(0, 1)[batch.places_n]
        token_losses(model, batch).losses_n.sum().backward()
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        found.append([labelled.detach(), *grads])
    plain, ours = found
    assert apart(ours, plain) < 2e-5


def test_under_autocast_trained_weights_in_fp32_go_with_it() -> None:
    """Keys come out of a weight in fp32, values out of one in bf16: all are used in bf16."""
    attention.register()
    batch = collate([by_hand.talks(5, 1, longest=60)], 0, "cpu")
    norms = []
    for name in ("sdpa", attention.NAME):
        model = by_hand.random_model(dtype=Dtype.bf16, attention=name)
        model.model.layers[1].self_attn.k_proj.float()
        with Precision(Dtype.bf16, "cpu").computing():
            token_losses(model, batch).losses_n.sum().backward()
        grad = model.model.layers[1].self_attn.k_proj.weight.grad
        assert grad.dtype is torch.float32
        norms.append(grad)
    assert apart([norms[1]], [norms[0]]) < 0.05


def test_without_rows_it_is_transformers_own() -> None:
    """As when text is generated: a mask is made, and a cache is used."""
    attention.register()
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    said = []
    for name in ("sdpa", attention.NAME):
        model = by_hand.random_model(attention=name, dtype=Dtype.fp32)
        said.append(
            model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=12, min_new_tokens=12
            )
        )
    assert said[0].shape == (1, 18)
    assert torch.equal(*said)


OTHERS = [
    ("Gemma2", "capped scores", {}),
    ("GPT2", "dropout", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    (
        "GptOss",
        "sinks",
        {"num_local_experts": 2, "num_experts_per_tok": 1, "layer_types": ["full_attention"] * 2},
    ),
]


@pytest.mark.parametrize(("kind", "reason", "sizes"), OTHERS)
def test_a_model_it_does_not_go_with_gets_its_own_and_it_is_said(
    kind: str,
    reason: str,
    sizes: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_hand.random_model(kind, **sizes).save_pretrained(tmp_path)
    config = by_hand.config(f"model.base={tmp_path}")
    model = load_base(config.model, config.adapter, config.memory)
    said = capsys.readouterr().err
    assert "memory.attention=rows does not go with" in said
    assert reason in said
    instead = model.config._attn_implementation
    assert f"{instead} computes instead" in said
    assert not model.training
    row = by_hand.talks(1, 1)
    assert bool(token_losses(model.train(), collate([row], 0, "cpu")).losses_n.isfinite().all())
