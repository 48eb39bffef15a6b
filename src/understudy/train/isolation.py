"""Whether rows packed into one line are blind to each other: measured, never assumed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.chat.encoder import IGNORED
from understudy.config.memory import Attention
from understudy.console import RunFailedError, UserError
from understudy.train import rng
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.layout import Line
from understudy.train.loss import hidden_states, kind
from understudy.train.precision import Precision
from understudy.train.training import Training

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = (24, 17, 9)
"""Tokens of the documents: two for one line, and a shorter line below it, which is padded."""
STEPS_BETWEEN_LAYOUTS = 16
LEAST_BETWEEN_LAYOUTS = 1e-3
"""Most that a document may differ between a line of its own and a shared one, in steps of the
number format, and at least this much. Another layout is another kernel and another order of sums:
up to 3 steps in bf16 and 10 in fp32 on the 30 layers of SmolLM2. A leak is 0.16 and more."""
STEPS_BETWEEN_NEIGHBOURS = 2
"""Most that a document may differ beside another neighbour. Shapes and kernels are the same, and a
masked token weighs exactly nothing: what was measured is 0, in every format. So a tenth of a leak
shows in bf16 too, whose steps are coarse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Isolation:
    """How far hidden states move, relative to their own size."""

    layouts: float
    """A document in a line of its own and in a shared one."""
    neighbours: float
    """A document beside one neighbour and beside another."""
    step: float
    """One step of the number format, relative."""

    @property
    def layouts_bound(self) -> float:
        """The largest `layouts` that rounding explains."""
        return max(LEAST_BETWEEN_LAYOUTS, STEPS_BETWEEN_LAYOUTS * self.step)

    @property
    def neighbours_bound(self) -> float:
        """The largest `neighbours` that rounding explains."""
        return STEPS_BETWEEN_NEIGHBOURS * self.step

    @property
    def holds(self) -> bool:
        """Whether rounding explains it."""
        return self.layouts <= self.layouts_bound and self.neighbours <= self.neighbours_bound


def check(run: Training) -> None:
    """Refuse packing on an attention that lets rows see each other.

    Raises:
        UserError: hidden states of a row depend on what shares its line.
    """
    if run.memory.packing:
        check_model(run.model, run.precision, run.config.memory.attention)


def check_model(
    model: Any,  # noqa: ANN401
    precision: Precision,
    attention: Attention,
) -> None:
    """The same for a model by itself.

    Raises:
        UserError: hidden states of a row depend on what shares its line.
        RunFailedError: they are not finite.
    """
    found = measure(model, precision)
    if found.holds:
        return
    if not (math.isfinite(found.layouts) and math.isfinite(found.neighbours)):
        raise RunFailedError(
            "memory.packing=true: whether rows that share a line see each other cannot be told, "
            f"since hidden states of {kind(model)} are not finite. Look at the weights, or "
            "try another model.dtype."
        )
    others = " or ".join(a.value for a in (Attention.sdpa, Attention.eager) if a is not attention)
    raise UserError(
        f"memory.packing=true: with memory.attention={attention.value}, rows that share a line of "
        f"{kind(model)} see each other. What the model makes of a row changes by "
        f"{found.neighbours:.2g} with its neighbour (rounding explains "
        f"{found.neighbours_bound:.2g}) and by {found.layouts:.2g} against the row alone "
        f"({found.layouts_bound:.2g}). Set memory.packing=false, or try memory.attention={others}."
    )


def measure(model: Any, precision: Precision) -> Isolation:  # noqa: ANN401
    """Lay made-up documents out in several ways and compare, without dropout.

    Weights, mode and random generators are left as they were.
    """
    import torch

    first, second, third, for_first, for_second = _documents(
        model.get_input_embeddings().num_embeddings
    )
    was_training = model.training
    model.eval()
    try:
        with rng.given_back(), torch.no_grad(), precision.computing():
            packed = _states(model, [[first, second], [third]])
            alone = [_states(model, [[document]])[0] for document in (first, second, third)]
            beside_others = [
                _states(model, [[first, for_second], [third]])[0],
                _states(model, [[for_first, second], [third]])[1],
            ]
    finally:
        model.train(was_training)
    return Isolation(
        layouts=_difference(packed, alone),
        neighbours=_difference(packed[:2], beside_others),
        step=torch.finfo(getattr(torch, precision.dtype.value)).eps,
    )


def _documents(vocabulary: int) -> list[Example]:
    """Documents of random ids, the same ones every time: no two alike, so that a leak must show."""
    draw = random.Random("isolation").randrange  # noqa: S311  # no secret
    lengths = (*LENGTHS, *LENGTHS[:2])
    return [_example([draw(vocabulary) for _ in range(length)]) for length in lengths]


def _example(ids: list[int]) -> Example:
    count = len(ids)
    return Example(ids=ids, labels=[IGNORED] * count, item="", speakers=[], voices=[-1] * count)


def _states(model: Any, lines: Sequence[Line]) -> list[Tensor]:  # noqa: ANN401
    """Hidden states of each document, [t, h], by the very path that training takes."""
    batch = collate(lines, 0, model.device)
    hidden_bth = hidden_states(model, batch).float()
    states = []
    for line, hidden_th in zip(lines, hidden_bth, strict=True):
        place = 0
        for document in line:
            states.append(hidden_th[place : place + len(document.ids)])
            place += len(document.ids)
    return states


def _difference(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest over all documents of |one - other| / |other|, both over a whole document."""
    import torch

    pairs = zip(ones, others, strict=True)
    found = [
        torch.linalg.vector_norm(one - other) / torch.linalg.vector_norm(other)
        for one, other in pairs
    ]
    return float(torch.stack(found).max())
