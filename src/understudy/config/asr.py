"""Speech recognition: which engine hears the words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from understudy.config.limits import within


class AsrEngine(Enum):
    """Speech recognisers understudy can drive."""

    faster_whisper = "faster_whisper"
    whisperx = "whisperx"


class ComputeType(Enum):
    """Number format CTranslate2 computes in."""

    auto = "auto"
    int8 = "int8"
    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"


@dataclass(frozen=True, kw_only=True, slots=True)
class AsrConfig:
    """Whisper, its size and how it decodes."""

    engine: AsrEngine = AsrEngine.faster_whisper
    size: str = "tiny.en"
    """Whisper size (`tiny.en` ships with a pinned package, `large-v3` comes from the hub) or
    a folder with a CTranslate2 model."""
    compute: ComputeType = ComputeType.auto
    language: str | None = None
    """ISO 639-1 code, or null to detect it per item."""
    beam: int = 5
    """Beams in decoding."""
    batch: int = 8
    """Speech chunks of about 30 s decoded together."""

    def __post_init__(self) -> None:
        within("asr.beam", self.beam, 1, 20)
        within("asr.batch", self.batch, 1, 256)
