"""Diarisation: who spoke when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from understudy.config.limits import within


class DiarizerKind(Enum):
    """Where the diarisation pipeline comes from."""

    package = "package"
    """pyannote's pipeline with weights from pinned packages: no hub, no licence click."""
    pretrained = "pretrained"
    """A pyannote pipeline from the hub (gated: HF_TOKEN) or from a local folder."""
    none = "none"
    """No diarisation: all speech belongs to one voice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiarizerConfig:
    """The pyannote pipeline and what is known about the number of voices."""

    kind: DiarizerKind = DiarizerKind.package
    pipeline: str | None = None
    """pretrained: hub id such as `pyannote/speaker-diarization-community-1`, or a folder."""
    speakers: int | None = None
    """Exact number of voices, where known."""
    min_speakers: int | None = None
    max_speakers: int | None = None

    def __post_init__(self) -> None:
        if self.kind is DiarizerKind.pretrained and self.pipeline is None:
            raise ValueError("diarizer.kind=pretrained needs diarizer.pipeline=<hub id or folder>.")
        within("diarizer.speakers", self.speakers, 1, 50)
        within("diarizer.min_speakers", self.min_speakers, 1, 50)
        within("diarizer.max_speakers", self.max_speakers, 1, 50)
        bounds = (self.min_speakers, self.max_speakers)
        if None not in bounds and bounds[0] > bounds[1]:  # type: ignore[operator]
            raise ValueError(
                f"diarizer.min_speakers={bounds[0]} is above diarizer.max_speakers={bounds[1]}: "
                "lower the first or raise the second."
            )
