"""Walks through a door in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from walking import walk_through


@dataclass(frozen=True, slots=True)
class Ended:
    """How a door ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class DoorProcess:
    """A door in a process of its own, forked from a server that has the libraries loaded."""

    def __init__(self, stage: str, overrides: Sequence[str], cwd: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=cwd, prefix=".door-"))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        arguments = (stage, list(overrides), str(cwd), str(self.folder))
        self.process = context.Process(target=walk_through, args=arguments)
        self.process.start()

    @property
    def running(self) -> bool:
        return self.process.is_alive()

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self, timeout: float = 300) -> Ended:
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            pytest.fail(f"the door did not end within {timeout} s")
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        assert self.process.exitcode is not None
        return Ended(self.process.exitcode, out, err)


PRELOADED = (
    "hydra",
    "peft",
    "walking",
    "transformers.generation.utils",
    "transformers.models.llama.modeling_llama",
)
