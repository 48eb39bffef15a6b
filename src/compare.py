"""The door of `compare`: python -m compare +experiment=demo."""

from __future__ import annotations

from understudy import chain
from understudy.compare import inputs, stage
from understudy.config import Config
from understudy.console import Outcome
from understudy.door import open_door


def run(config: Config) -> Outcome:
    """Show the samples that `samples=` names, finished or not, or those that this config makes."""
    samples = config.samples or chain.samples(config).folder
    training_run, prepared = inputs.origins(samples)
    return stage.run(config, samples, training_run, prepared)


def main() -> None:
    """Compose, validate, compare."""
    open_door("compare", run)


if __name__ == "__main__":
    main()
