"""Held-out loss: sums over tokens, so that it does not move with the batch size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.chat.encoder import IGNORED
from understudy.console import progress
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.loss import token_losses
from understudy.train.precision import Precision
from understudy.train.processes import Processes


@dataclass(slots=True)
class Sums:
    """Sums over supervised tokens."""

    loss: float = 0.0
    correct: int = 0
    tokens: int = 0

    @property
    def mean_loss(self) -> float:
        """Nats per token."""
        return self.loss / self.tokens

    @property
    def accuracy(self) -> float:
        """Share of tokens that were the likeliest."""
        return self.correct / self.tokens

    def add(self, other: Sums) -> None:
        """Count another's tokens in."""
        self.loss += other.loss
        self.correct += other.correct
        self.tokens += other.tokens


@dataclass(slots=True)
class Scores:
    """Sums in all, and by item and speaker."""

    total: Sums = field(default_factory=Sums)
    parts: dict[tuple[str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))

    def add(self, item: str, speaker: str, sums: Sums) -> None:
        """Count tokens of one item's speaker."""
        self.total.add(sums)
        self.parts[item, speaker].add(sums)

    def merge(self, other: Scores) -> None:
        """Count what another process scored."""
        for (item, speaker), sums in other.parts.items():
            self.add(item, speaker, sums)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What measuring needs beside model and rows."""

    micro_batch: int
    pad_id: int
    precision: Precision
    processes: Processes = field(default_factory=Processes)
    between: Callable[[], None] = lambda: None
    """Called between forward passes; may raise to break the measuring off."""


def evaluate(
    model: Any,  # noqa: ANN401
    examples: Sequence[Example],
    how: Evaluation,
    label: str,
) -> Scores:
    """Loss and accuracy over every supervised token of `examples`; no logits are kept.

    Rows go through in order of length, so that little padding is computed; the sums do not
    depend on it.
    """
    import torch

    scores = Scores()
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), progress(label, len(examples), "rows") as bar:
            for chunk in how.processes.share(in_passes(examples, how.micro_batch)):
                how.between()
                batch = collate([[example] for example in chunk], how.pad_id, model.device)
                with how.precision.computing():
                    result = token_losses(model, batch)
                losses, correct = result.losses_n.tolist(), result.correct_n.tolist()
                _enter(scores, chunk, losses, correct)
                bar.advance(min(len(examples), len(chunk) * how.processes.count))
    finally:
        model.train(was_training)
    whole = Scores()
    for part in how.processes.gather(scores):
        whole.merge(part)
    return whole


def in_passes(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """The rows in order of length, `size` to a forward pass."""
    order = sorted(examples, key=lambda example: len(example.ids))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _enter(
    scores: Scores, chunk: Sequence[Example], losses: list[float], correct: list[bool]
) -> None:
    place = 0
    for example in chunk:
        for label, voice in zip(example.labels[1:], example.voices[1:], strict=True):
            if label == IGNORED:
                continue
            speaker = example.speakers[voice] if voice >= 0 else ""
            one = Sums(loss=losses[place], correct=int(correct[place]), tokens=1)
            scores.add(example.item, speaker, one)
            place += 1
    assert place == len(losses)
