"""Voices: an embedding for each turn, so that a person is known again in the next episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from understudy.console import UserError
from understudy.records.voices import Embedding, ItemVoices
from understudy.transcribe.assign import Stretch
from understudy.transcribe.audio import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    from understudy.transcribe.campplus import CamPlus

MODEL_ID = "campplus_zh_en_192"
SHORTEST_SECONDS = 1.5
"""A shorter turn says too little about a voice."""
LONGEST_SECONDS = 60.0
"""More of one turn adds nothing."""


def check(model_id: str) -> None:
    """Refuse an embedding model that is not built.

    Raises:
        UserError: naming the ones that are.
    """
    if model_id != MODEL_ID:
        raise UserError(f"voices.embedding={model_id} is not known: choose {MODEL_ID}.")


class Embedder:
    """CAM++, loaded once."""

    def __init__(self) -> None:
        from understudy.transcribe import campplus

        self.network: CamPlus = campplus.load()

    def embed(self, samples: Samples) -> Embedding:
        """The voice in a piece of speech: [192], unit length.

        Args:
            samples: At least SHORTEST_SECONDS at 16 kHz.
        """
        import torch

        from understudy.transcribe import campplus
        from understudy.transcribe.threads import one_thread_an_operation

        with torch.inference_mode(), one_thread_an_operation():
            features = campplus.features(torch.from_numpy(samples))
            embedding = self.network(features[None])[0]
            unit: Embedding = torch.nn.functional.normalize(embedding, dim=0).numpy()
        return unit


def item_voices(samples: Samples, turns: Sequence[Stretch], embedder: Embedder) -> ItemVoices:
    """One embedding per turn; a row of zeros where a turn is too short."""
    rows = [_row(samples, turn, embedder) for turn in turns]
    return ItemVoices(
        embedding_model=MODEL_ID,
        embeddings=np.stack(rows) if rows else _zeros(0),
        starts=np.array([turn.start for turn in turns], dtype=np.float64),
        ends=np.array([turn.end for turn in turns], dtype=np.float64),
        speakers=[turn.speaker for turn in turns],
    )


def _row(samples: Samples, turn: Stretch, embedder: Embedder) -> Embedding:
    end = min(turn.end, turn.start + LONGEST_SECONDS)
    part = samples[int(turn.start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
    if len(part) < SHORTEST_SECONDS * SAMPLE_RATE:
        return _zeros(1).reshape(-1)
    return embedder.embed(part)


def _zeros(rows: int) -> Embedding:
    from understudy.transcribe.campplus import DIMENSIONS

    return np.zeros((rows, DIMENSIONS), dtype=np.float32)
