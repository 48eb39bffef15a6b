"""pyannote's SpeakerDiarization with weights from pinned packages: no hub, no licence click.

Segmentation 3.0 finds voices in windows of 10 s, CAM++ tells them apart across windows, and
agglomerative clustering joins them: the recipe of pyannote/speaker-diarization-3.1 with another
embedding. https://github.com/pyannote/pyannote-audio
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from pyannote.audio import Model
from pyannote.audio.core.plda import PLDA
from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.models.segmentation import PyanNet
from pyannote.audio.pipelines import SpeakerDiarization
from torch import Tensor
from torch.nn import functional

from understudy.models import packages
from understudy.transcribe import campplus

PARAMETERS = {
    "segmentation": {"min_duration_off": 0.0},
    "clustering": {"method": "centroid", "threshold": 0.7, "min_cluster_size": 6},
}
SHORTEST_FRAMES = 20
"""Below 0.2 s of speech a voice is not embedded."""
BATCH = 8
USED = 0.5
"""Mask values above it select a frame."""


def from_packages() -> SpeakerDiarization:
    """The pipeline, ready for use.

    Raises:
        UserError: the weights cannot be downloaded.
    """
    pipeline = SpeakerDiarization(
        segmentation=_segmentation(),
        embedding=_VoiceModel(),
        embedding_exclude_overlap=True,
        plda=_NoPlda(),
        clustering="AgglomerativeClustering",
        segmentation_batch_size=BATCH,
        embedding_batch_size=BATCH,
    )
    pipeline.instantiate(PARAMETERS)
    return pipeline


def _segmentation() -> PyanNet:
    # pyannote's own loader unpickles anything; this one admits four harmless classes.
    admitted: list[Any] = [Problem, Resolution, Specifications, torch.torch_version.TorchVersion]
    path = packages.fetch(packages.SEGMENTATION_3_0)
    with torch.serialization.safe_globals(admitted):
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    model = PyanNet(**checkpoint["hyper_parameters"])
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    return model.eval()


class _NoPlda(PLDA):
    """The pipeline insists on one; agglomerative clustering never asks it anything."""

    def __init__(self) -> None:
        pass


class _VoiceModel(Model):
    """CAM++ behind pyannote's interface for embeddings."""

    dimension = campplus.DIMENSIONS

    def __init__(self) -> None:
        super().__init__(sample_rate=campplus.SAMPLE_RATE)
        self.network = campplus.load()
        self.pool = ThreadPoolExecutor(max_workers=os.cpu_count())

    def forward(  # type: ignore[override]  # as in pyannote's own embedding models
        self, waveforms: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Embeddings of the frames that a mask selects.

        Args:
            waveforms: [B, 1, S] at 16 kHz.
            weights: [B, N] over the same time; frames above 0.5 are used. None uses all.

        Returns:
            [B, 192]; a row of NaN, which the pipeline leaves out, where too few frames are used.
        """
        masks = [None] * len(waveforms) if weights is None else list(weights)
        return torch.stack(list(self.pool.map(self._one, waveforms[:, 0], masks)))

    @torch.inference_mode()
    def _one(self, samples: Tensor, mask: Tensor | None) -> Tensor:
        nothing = torch.full((campplus.DIMENSIONS,), float("nan"), device=samples.device)
        if mask is not None and not bool(mask.any()):
            return nothing
        frames = _masked(campplus.features(samples), mask)
        if len(frames) < SHORTEST_FRAMES:
            return nothing
        embedding: Tensor = self.network(frames[None])[0]
        return embedding


def _masked(frames_tf: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return frames_tf
    stretched = functional.interpolate(mask[None, None], size=len(frames_tf), mode="nearest")
    return frames_tf[stretched[0, 0] > USED]
