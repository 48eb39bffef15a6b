"""How well a checkpoint predicts the held-out talk: loss, perplexity, token accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from understudy.records.checkpoints import BASE

LARGEST_EXPONENT = 700.0
UNNAMED = "(not named)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One line of `scores.jsonl`: sums over the supervised tokens of an item's speaker."""

    checkpoint: str
    step: int
    item: str
    speaker: str
    loss: float
    """Sum of cross-entropies, nats."""
    correct: float
    """Tokens whose likeliest prediction was right."""
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """What sums over held-out tokens come to."""

    loss: float
    """Mean cross-entropy, nats per token."""
    accuracy: float | None = None
    """Share of tokens predicted right, 0 to 1."""
    tokens: int | None = None

    @property
    def perplexity(self) -> float:
        """exp(loss): among how many equally likely tokens the model hesitates."""
        return math.exp(min(self.loss, LARGEST_EXPONENT))


def pooled(scores: Iterable[Score]) -> Quality | None:
    """Sums over their count: never a mean of means. None without tokens."""
    found = list(scores)
    tokens = sum(score.tokens for score in found)
    if tokens == 0:
        return None
    return Quality(
        loss=sum(score.loss for score in found) / tokens,
        accuracy=sum(score.correct for score in found) / tokens,
        tokens=tokens,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Base and checkpoints on the same held-out tokens."""

    checkpoints: Mapping[str, Quality]
    """By name, the base included where it was scored, in order of training."""
    best: str | None
    """The checkpoint with the lowest loss, the base not counted."""
    last: str | None
    by_speaker: Mapping[str, Mapping[str, Quality]]
    """Speaker to checkpoint to quality."""
    by_item: Mapping[str, Mapping[str, Quality]]
    incomparable: tuple[str, ...] = ()
    """Checkpoints left out because they were scored on other tokens than the base."""

    @property
    def base(self) -> Quality | None:
        """The base model's quality, where it was scored."""
        return self.checkpoints.get(BASE)

    @property
    def tuned(self) -> Quality | None:
        """The best checkpoint's quality."""
        return None if self.best is None else self.checkpoints[self.best]

    @property
    def change(self) -> float | None:
        """Relative change of the loss from base to best checkpoint; below 0 is better."""
        return change(self.base, self.tuned)


def change(base: Quality | None, tuned: Quality | None) -> float | None:
    """Relative change of the loss; None where one is missing or the base's is 0."""
    if base is None or tuned is None or base.loss == 0:
        return None
    return tuned.loss / base.loss - 1


def held_out(scores: Sequence[Score]) -> HeldOut | None:
    """Pool the scores by checkpoint, by speaker and by item; None without scores."""
    steps = {score.checkpoint: score.step for score in scores}
    order = sorted(steps, key=lambda name: (name != BASE, steps[name], name))
    tokens = {name: _extent(scores, name) for name in order}
    odd = tuple(name for name in order if BASE in tokens and tokens[name] != tokens[BASE])
    kept = [score for score in scores if score.checkpoint not in odd]
    qualities = _by_checkpoint(kept, [name for name in order if name not in odd])
    tuned = [name for name in qualities if name != BASE]
    if not qualities:
        return None
    return HeldOut(
        checkpoints=qualities,
        best=min(tuned, key=lambda name: qualities[name].loss, default=None),
        last=tuned[-1] if tuned else None,
        by_speaker=_by(kept, order, "speaker"),
        by_item=_by(kept, order, "item"),
        incomparable=odd,
    )


def _extent(scores: Iterable[Score], checkpoint: str) -> dict[tuple[str, str], int]:
    extent: dict[tuple[str, str], int] = {}
    for score in scores:
        if score.checkpoint == checkpoint:
            place = (score.item, score.speaker)
            extent[place] = extent.get(place, 0) + score.tokens
    return extent


def _by_checkpoint(scores: Sequence[Score], order: Sequence[str]) -> dict[str, Quality]:
    found = {name: pooled(s for s in scores if s.checkpoint == name) for name in order}
    return {name: quality for name, quality in found.items() if quality is not None}


def _by(scores: Sequence[Score], order: Sequence[str], field: str) -> dict[str, dict[str, Quality]]:
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(getattr(score, field), []).append(score)
    return {name: _by_checkpoint(groups[name], order) for name in sorted(groups)}


def from_metrics(metrics: Sequence[Mapping[str, float]]) -> HeldOut | None:
    """The same from `full_valid_*` in `metrics.jsonl`, where there are no scores to pool."""
    found: dict[str, Quality] = {}
    for line in sorted(metrics, key=lambda line: line["step"]):
        if "full_valid_loss" in line:
            name = BASE if line["step"] == 0 else f"step {line['step']:,.0f}"
            accuracy = line.get("full_valid_mean_token_accuracy")
            found[name] = Quality(loss=line["full_valid_loss"], accuracy=accuracy)
    tuned = [name for name in found if name != BASE]
    if not found:
        return None
    return HeldOut(
        checkpoints=found,
        best=min(tuned, key=lambda name: found[name].loss, default=None),
        last=tuned[-1] if tuned else None,
        by_speaker={},
        by_item={},
    )
