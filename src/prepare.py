"""The door of `prepare`: python -m prepare +experiment=demo."""

from __future__ import annotations

from understudy.door import open_door
from understudy.prepare import stage


def main() -> None:
    """Compose, validate, prepare."""
    open_door("prepare", stage.run)


if __name__ == "__main__":
    main()
