"""Known voices: when a voice that was heard bears the name of one in `speakers.json`."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.config.limits import within


@dataclass(frozen=True, kw_only=True, slots=True)
class VoicesConfig:
    """Voice recognition by cosine similarity of embeddings."""

    embedding: str = "campplus_zh_en_192"
    """Id of the embedding model; references made with another are refused."""
    threshold: float = 0.5
    """Lowest cosine similarity at which a voice bears a registered name."""
    margin: float = 0.1
    """How far the best registered voice must be above the second best."""

    def __post_init__(self) -> None:
        within("voices.threshold", self.threshold, -1, 1)
        within("voices.margin", self.margin, 0, 2)
