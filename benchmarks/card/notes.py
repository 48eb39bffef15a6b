"""What a run notes while it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def noted(run: Path) -> dict[int, dict[str, Any]]:
    """Steps in `metrics.jsonl` by number."""
    return {line["step"]: line for line in whole_lines(run / "metrics.jsonl") if "tokens" in line}


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a file that may be growing: one without its end is left for later."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
