"""Sweeps in the folder of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from sweeps import Launched

from understudy import door
from understudy.config import Config


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Start a sweep and leave it running; `NAME=value` arguments are its environment."""
    started: list[Launched] = []

    def run(stage: str, *overrides: str, **env: str) -> Launched:
        started.append(Launched(tmp_path, stage, overrides, env))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def composed() -> Iterator[Callable[..., Config]]:
    """The config that overrides come to, composed as a door does."""
    door.register_schema()
    with initialize_config_module("understudy.conf", version_base="1.3"):
        yield lambda *overrides: door.to_config(compose("config", overrides=list(overrides)))
