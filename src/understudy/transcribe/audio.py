"""Audio as the models want it: 16 kHz, mono, float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
MICROSECONDS = 1_000_000

Samples = NDArray[np.float32]
"""[S] at 16 kHz, in -1..1."""


class Unusable(ValueError):  # noqa: N818  # the message is the reason a person reads
    """An item that cannot be transcribed; the others can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audio:
    """One file, decoded."""

    samples: Samples
    damaged: int
    """Packets that could not be decoded and are missing from the samples."""

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / SAMPLE_RATE


def decode(path: Path) -> Audio:
    """Decode the first audio stream of an audio or video file.

    Raises:
        Unusable: no bytes, no audio stream, or nothing in it can be decoded.
    """
    if path.stat().st_size == 0:
        raise Unusable(f"{path.name} has zero bytes")
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise Unusable(f"{path.name} has no audio stream")
            pieces, damaged = _resample(container)
    except (av.error.FFmpegError, EOFError) as error:
        raise Unusable(f"{path.name} cannot be decoded ({_reason(error)})") from None
    if not pieces:
        raise Unusable(f"{path.name} holds no audio that can be decoded")
    return Audio(samples=np.concatenate(pieces), damaged=damaged)


def _resample(container: Any) -> tuple[list[Samples], int]:  # noqa: ANN401  # an av container
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    pieces: list[Samples] = []
    damaged = 0
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged += 1
            continue
        for frame in frames:
            pieces += _arrays(resampler.resample(frame))
    if pieces:
        pieces += _arrays(resampler.resample(None))
    return pieces, damaged


def _arrays(frames: list[Any]) -> Iterator[Samples]:
    for frame in frames:
        yield frame.to_ndarray()[0].astype(np.float32)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def stated_seconds(path: Path) -> float:
    """The length that a file's header states; 0 where it states none or cannot be read."""
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            return float(container.duration or 0) / MICROSECONDS
    except (av.error.FFmpegError, EOFError):
        return 0.0
