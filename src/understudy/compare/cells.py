"""Checkpoint x decoder: what the samples of each cell amount to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.compare import length, repetition
from understudy.compare.reference import Nearness, nearness
from understudy.records.checkpoints import BASE
from understudy.records.samples import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """All samples of one checkpoint with one decoder, measured."""

    checkpoint: str
    decoder: str
    samples: int
    mean_words: float | None
    """Whitespace-separated words."""
    ended_share: float | None
    """Share the model ended by itself, 0 to 1; None where that has no meaning."""
    distinct_1: float | None
    distinct_2: float | None
    seq_rep_4: float | None
    nearness: Nearness | None
    """Against what was really said, where that is known."""


def order(checkpoints: Sequence[str], steps: Mapping[str, str]) -> list[str]:
    """Checkpoints in order of training, the base first.

    Args:
        checkpoints: Names, in any order, repeats allowed.
        steps: Checkpoint folder by name (`step-000040`), where it is known.
    """

    def place(name: str) -> tuple[bool, int, str]:
        digits = re.findall(r"\d+", steps.get(name, name))
        return (name != BASE, int(digits[-1]) if digits else 0, name)

    return sorted(set(checkpoints), key=place)


def cells(samples: Sequence[Sample], checkpoints: Sequence[str]) -> list[Cell]:
    """Measure each decoder, and in it each checkpoint, in the order given."""
    decoders = list(dict.fromkeys(sample.decoder for sample in samples))
    found = []
    for decoder in decoders:
        for checkpoint in checkpoints:
            members = [s for s in samples if (s.checkpoint, s.decoder) == (checkpoint, decoder)]
            if members:
                found.append(_cell(checkpoint, decoder, members))
    return found


def _cell(checkpoint: str, decoder: str, members: Sequence[Sample]) -> Cell:
    texts = [sample.text for sample in members]
    known = [(sample.text, sample.reference) for sample in members if sample.reference]
    return Cell(
        checkpoint=checkpoint,
        decoder=decoder,
        samples=len(members),
        mean_words=length.mean_words(texts),
        ended_share=length.ended_share(sample.finish_reason for sample in members),
        distinct_1=repetition.distinct(texts, 1),
        distinct_2=repetition.distinct(texts, 2),
        seq_rep_4=repetition.mean_seq_rep(texts),
        nearness=nearness([text for text, _ in known], [answer for _, answer in known]),
    )


def reference_cell(samples: Sequence[Sample]) -> Cell | None:
    """What was really said, measured the same way; each prompt's reference counts once."""
    answers = {sample.prompt_id: sample.reference for sample in samples if sample.reference}
    texts = list(answers.values())
    if not texts:
        return None
    return Cell(
        checkpoint="reference",
        decoder="",
        samples=len(texts),
        mean_words=length.mean_words(texts),
        ended_share=None,
        distinct_1=repetition.distinct(texts, 1),
        distinct_2=repetition.distinct(texts, 2),
        seq_rep_4=repetition.mean_seq_rep(texts),
        nearness=None,
    )
