"""The door of `generate`: python -m generate +experiment=demo."""

from __future__ import annotations

from understudy import chain
from understudy.config import Config
from understudy.console import Outcome
from understudy.door import open_door
from understudy.generate import stage


def run(config: Config) -> Outcome:
    """Let base and checkpoints of a training run speak."""
    training = chain.training_run(config)
    return stage.run(config, training.identity, training.folder)


def main() -> None:
    """Compose, validate, generate."""
    open_door("generate", run)


if __name__ == "__main__":
    main()
