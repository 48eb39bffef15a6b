"""Checkpoints as they appear."""

from __future__ import annotations

import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


class Saves:
    """Checkpoints as they appear: when begun, when whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: dict[str, float] = {}
        self.seconds: list[float] = []
        self.bytes = 0

    def look(self) -> None:
        """Note what is new."""
        now = time.monotonic()
        for path in self._folders():
            if (path / "manifest.json").exists():
                began = self.begun.pop(path.name, None)
                if began is not None:
                    self.seconds.append(now - began)
                    # It may be removed at any time: only the newest stay.
                    with suppress(FileNotFoundError):
                        self.bytes = sum(file.stat().st_size for file in path.iterdir())
            else:
                self.begun.setdefault(path.name, now)

    def whole(self) -> list[int]:
        """Steps whose checkpoints are whole."""
        return sorted(
            int(path.name.removeprefix("step-"))
            for path in self._folders()
            if (path / "manifest.json").exists()
        )

    def figures(self) -> dict[str, Any]:
        """Seconds and bytes of a save; the time is good to about 20 ms."""
        if not self.seconds:
            return {"save_seconds": None, "save_bytes": None}
        return {
            "save_seconds": round(statistics.median(self.seconds), 2),
            "save_bytes": self.bytes,
        }

    def _folders(self) -> list[Path]:
        return list(self.folder.glob("runs/train/*/checkpoints/step-*"))
