"""Diarisation: who spoke when, by pyannote's pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from understudy.config.diarizer import DiarizerConfig, DiarizerKind
from understudy.console import UserError
from understudy.transcribe.assign import Stretch
from understudy.transcribe.audio import SAMPLE_RATE, Samples
from understudy.transcribe.quiet import no_telemetry

ONE_VOICE = "SPEAKER_00"


@dataclass(frozen=True, kw_only=True, slots=True)
class Diarization:
    """Who spoke when, in order of time."""

    stretches: tuple[Stretch, ...]
    """As heard: two voices may overlap."""
    exclusive: tuple[Stretch, ...]
    """One voice at a time: what words are given by."""


class Diarizer(Protocol):
    """A loaded diarisation pipeline."""

    def diarize(self, samples: Samples) -> Diarization:
        """Who spoke when in a recording."""


def load(config: DiarizerConfig) -> Diarizer:
    """Load the pipeline that the config asks for.

    Raises:
        UserError: its weights cannot be had.
    """
    if config.kind is DiarizerKind.none:
        return _OneVoice()
    no_telemetry()
    if config.kind is DiarizerKind.package:
        from understudy.transcribe import pipeline

        return _Pyannote(pipeline.from_packages(), config)
    assert config.pipeline is not None
    return _Pyannote(_pretrained(config.pipeline), config)


def _pretrained(name: str) -> Any:  # noqa: ANN401  # pyannote's pipeline
    from pyannote.audio import Pipeline

    try:
        loaded = Pipeline.from_pretrained(name, token=os.environ.get("HF_TOKEN"))
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise _no_pipeline(name, str(error).splitlines()[0]) from None
    if loaded is None:
        raise _no_pipeline(name, "access refused, or no such pipeline")
    return loaded


def _no_pipeline(name: str, reason: str) -> UserError:
    if Path(name).exists():
        return UserError(
            f"diarizer.pipeline={name} could not be loaded ({reason}): give a folder with a "
            "pyannote config.yaml, a hub id, or diarizer=pyannote_package."
        )
    return UserError(
        f"diarizer.pipeline={name} could not be had from the hub ({reason}). pyannote's pipelines "
        f"are gated: accept the conditions on the page of {name} on huggingface.co with your "
        "account, make a token there and put it into the environment as HF_TOKEN. "
        "diarizer=pyannote_package needs no hub and no account."
    )


class _OneVoice:
    """All speech belongs to one voice."""

    def diarize(self, samples: Samples) -> Diarization:
        whole = Stretch(start=0.0, end=len(samples) / SAMPLE_RATE, speaker=ONE_VOICE)
        return Diarization(stretches=(whole,), exclusive=(whole,))


class _Pyannote:
    """pyannote.audio's SpeakerDiarization."""

    def __init__(self, pipeline: Any, config: DiarizerConfig) -> None:  # noqa: ANN401
        import torch

        if torch.cuda.is_available():
            pipeline.to(torch.device("cuda"))
        self.pipeline, self.config = pipeline, config

    def diarize(self, samples: Samples) -> Diarization:
        import torch

        from understudy.transcribe.threads import one_thread_an_operation

        recording = {"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE}
        with one_thread_an_operation():
            output = self.pipeline(
                recording,
                num_speakers=self.config.speakers,
                min_speakers=self.config.min_speakers,
                max_speakers=self.config.max_speakers,
            )
        return Diarization(
            stretches=_stretches(output.speaker_diarization.itertracks(yield_label=True)),
            exclusive=_stretches(output.exclusive_speaker_diarization.itertracks(yield_label=True)),
        )


def _stretches(tracks: Iterable[tuple[Any, Any, str]]) -> tuple[Stretch, ...]:
    return tuple(
        Stretch(start=round(time.start, 3), end=round(time.end, 3), speaker=label)
        for time, _, label in tracks
    )
