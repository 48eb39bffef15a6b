"""The door of `train`: python -m train +experiment=demo."""

from __future__ import annotations

from understudy import chain
from understudy.config import Config
from understudy.console import Outcome
from understudy.door import open_door
from understudy.train import stage
from understudy.train.processes import Processes


def run(config: Config) -> Outcome:
    """Train on the prepared set of this config, which is made first where it is missing."""
    processes = Processes()
    with processes.first_goes_ahead():
        prepared = chain.prepared(config)
    return stage.run(config, prepared.identity, prepared.folder, processes)


def main() -> None:
    """Compose, validate, train."""
    open_door("train", run)


if __name__ == "__main__":
    main()
