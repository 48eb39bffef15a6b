"""The door of `transcribe`: python -m transcribe +experiment=demo."""

from __future__ import annotations

from understudy.door import open_door
from understudy.transcribe import stage


def main() -> None:
    """Compose, validate, transcribe."""
    open_door("transcribe", stage.run)


if __name__ == "__main__":
    main()
