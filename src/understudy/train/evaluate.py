"""Held-out loss: sums over tokens, so that it does not move with the batch size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.chat.encoder import IGNORED
from understudy.console import progress
from understudy.train.batch import collate
from understudy.train.data import Example
from understudy.train.loss import token_losses


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


@dataclass(slots=True)
class Scores:
    """Sums in all, and by item and speaker."""

    total: Sums = field(default_factory=Sums)
    parts: dict[tuple[str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))

    def add(self, item: str, speaker: str, loss: float, *, correct: bool) -> None:
        """Count one token."""
        for sums in (self.total, self.parts[item, speaker]):
            sums.loss += loss
            sums.correct += correct
            sums.tokens += 1


def evaluate(
    model: Any,  # noqa: ANN401
    examples: Sequence[Example],
    *,
    micro_batch: int,
    pad_id: int,
    label: str,
) -> Scores:
    """Loss and accuracy over every supervised token of `examples`; no logits are kept.

    Rows go through in order of length, so that little padding is computed; the sums do not
    depend on it.
    """
    import torch

    scores = Scores()
    order = sorted(examples, key=lambda example: len(example.ids))
    was_training = model.training
    model.eval()
    with torch.no_grad(), progress(label, len(order), "rows") as bar:
        for start in range(0, len(order), micro_batch):
            chunk = order[start : start + micro_batch]
            result = token_losses(model, collate(chunk, pad_id, model.device))
            losses, correct = result.losses_n.tolist(), result.correct_n.tolist()
            _enter(scores, chunk, losses, correct)
            bar.advance(len(chunk))
    model.train(was_training)
    return scores


def _enter(
    scores: Scores, chunk: Sequence[Example], losses: list[float], correct: list[bool]
) -> None:
    place = 0
    for example in chunk:
        for label, voice in zip(example.labels[1:], example.voices[1:], strict=True):
            if label == IGNORED:
                continue
            speaker = example.speakers[voice] if voice >= 0 else ""
            scores.add(example.item, speaker, losses[place], correct=correct[place])
            place += 1
    assert place == len(losses)
