"""The door of `train`: python -m train +experiment=demo."""

from __future__ import annotations

from understudy.console import Outcome
from understudy.door import open_door


def run(config):
    print(config)
    return Outcome(config.root)


def main() -> None:
    open_door("train", run)


if __name__ == "__main__":
    main()
