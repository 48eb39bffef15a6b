"""The models of the stage: loaded when the first item needs them, freed at the end."""

from __future__ import annotations

import gc
from functools import cached_property

from understudy.config import Config
from understudy.transcribe import asr, diarize
from understudy.transcribe.asr import Recogniser
from understudy.transcribe.diarize import Diarizer
from understudy.transcribe.embed import Embedder


class Models:
    """Recogniser, diariser and embedder; a run in which nothing can be heard loads none of them."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def recogniser(self) -> Recogniser:
        """Whisper."""
        return asr.load(self.config.asr)

    @cached_property
    def diarizer(self) -> Diarizer:
        """Who spoke when."""
        return diarize.load(self.config.diarizer)

    @cached_property
    def embedder(self) -> Embedder:
        """Whose voice it is."""
        return Embedder()

    def free(self) -> None:
        """Give their memory back."""
        for name in ("recogniser", "diarizer", "embedder"):
            self.__dict__.pop(name, None)
        gc.collect()
