"""Voices: one embedding per turn of an item, and the register of known voices of a corpus."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy import artifacts
from understudy.config.voices import VoicesConfig

Embedding = NDArray[np.float32]


class Role(Enum):
    """What a speaker is to the show."""

    host = "host"
    guest = "guest"
    other = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownVoice:
    """A person in `speakers.json`: name, role, and reference embeddings."""

    name: str
    role: Role
    embedding_model: str
    """Id of the model the references were made with; others are not comparable."""
    references: tuple[tuple[float, ...], ...]
    """Unit-length embeddings [references, dimensions], each from 5-30 s of speech."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemVoices:
    """`voices.npz`: one embedding per turn (a run of segments by one speaker)."""

    embedding_model: str
    embeddings: Embedding
    """[turns, dimensions], unit length; a row of zeros where the turn was too short."""
    starts: NDArray[np.float64]
    """[turns], seconds."""
    ends: NDArray[np.float64]
    speakers: list[str]
    """[turns], the transcript's anonymous labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """What an anonymous label turned out to be."""

    name: str
    role: Role | None
    """None: nobody registered."""
    similarity: float | None
    """Cosine similarity to the best registered voice, where there was one to compare with."""


def read_register(path: Path) -> list[KnownVoice]:
    """Known voices; an absent file is an empty register.

    Raises:
        ValueError: the file is not a register; the message names it.
    """
    if not path.exists():
        return []
    try:
        speakers = json.loads(path.read_text(encoding="utf-8"))["speakers"]
        return [
            KnownVoice(
                name=str(record["name"]),
                role=Role(record["role"]),
                embedding_model=str(record["embedding_model"]),
                references=tuple(tuple(map(float, row)) for row in record["references"]),
            )
            for record in speakers
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a register of voices ({error!r})") from None


def write_register(path: Path, voices: list[KnownVoice]) -> None:
    """Write `speakers.json`, atomically."""
    artifacts.write_json(path, {"speakers": voices})


def read_item_voices(path: Path) -> ItemVoices | None:
    """An item's voices, or None where it has none (imported transcripts).

    Raises:
        ValueError: the file is damaged; the message names it.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return ItemVoices(
                embedding_model=str(arrays["embedding_model"]),
                embeddings=arrays["embeddings"].astype(np.float32),
                starts=arrays["starts"],
                ends=arrays["ends"],
                speakers=[str(label) for label in arrays["speakers"]],
            )
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a voices file ({error})") from None


def write_item_voices(path: Path, voices: ItemVoices) -> None:
    """Write `voices.npz`, atomically."""
    import io

    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "embedding_model": np.array(voices.embedding_model),
        "embeddings": voices.embeddings.astype(np.float32),
        "starts": voices.starts,
        "ends": voices.ends,
        "speakers": np.array(voices.speakers, dtype=np.str_),
    }
    np.savez(buffer, **arrays)
    artifacts.write_atomic(path, buffer.getvalue())


def centroid(voices: ItemVoices, label: str) -> Embedding | None:
    """Unit-length mean embedding of a label, longer turns counting more; None if all too short."""
    chosen = [i for i, speaker in enumerate(voices.speakers) if speaker == label]
    if not chosen:
        return None
    seconds = (voices.ends - voices.starts)[chosen]
    total = (voices.embeddings[chosen] * seconds[:, None]).sum(axis=0)
    length = float(np.linalg.norm(total))
    return None if length == 0 else (total / length).astype(np.float32)


def resolve(
    voices: ItemVoices, register: list[KnownVoice], config: VoicesConfig
) -> dict[str, Resolved]:
    """Give each anonymous label its registered name, where one is near enough.

    A name goes to one label at most: the most similar. Labels that match nobody keep their label.

    Raises:
        ValueError: the register and the item were embedded with different models.
    """
    comparable = [known for known in register if known.embedding_model == voices.embedding_model]
    if register and not comparable:
        raise ValueError(
            f"the register holds embeddings of {register[0].embedding_model}, the item of "
            f"{voices.embedding_model}: enrol the voices again with the latter"
        )
    labels = sorted(set(voices.speakers))
    scores = {label: _scores(centroid(voices, label), comparable) for label in labels}
    resolved = {}
    for label in labels:
        ranked = sorted(scores[label].items(), key=lambda pair: -pair[1])
        best_name, best = ranked[0] if ranked else (label, None)
        second = ranked[1][1] if len(ranked) > 1 else -1.0
        rivals = [scores[other].get(best_name, -1.0) for other in labels if other != label]
        if (
            best is not None
            and best >= config.threshold
            and best - second >= config.margin
            and best > max(rivals, default=-1.0)
        ):
            role = next(known.role for known in comparable if known.name == best_name)
            resolved[label] = Resolved(name=best_name, role=role, similarity=best)
        else:
            resolved[label] = Resolved(name=label, role=None, similarity=best)
    return resolved


def _scores(embedding: Embedding | None, register: list[KnownVoice]) -> dict[str, float]:
    if embedding is None:
        return {}
    return {
        known.name: max(float(np.dot(embedding, row)) for row in np.array(known.references))
        for known in register
        if known.references
    }
