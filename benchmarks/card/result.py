"""What is written and printed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from card.size import BUDGET_GIB, Size


class Result:
    """What is written and printed."""

    def __init__(self, size: Size, card: dict[str, Any], folder: Path | None) -> None:
        self.size = size
        self.card = card
        self.file: Path | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            device = "-".join(card["device"].lower().split())
            self.file = folder / f"gpu-{device}-{datetime.now(UTC):%Y-%m-%d}.json"

    def write(self, parts: list[dict[str, Any]]) -> None:
        """Replace the file by what is known so far: a call that is cut short leaves that."""
        if self.file is not None:
            self.file.write_text(json.dumps(self.record(parts), indent=1) + "\n", encoding="utf-8")

    def record(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """The result as JSON."""
        rates = [part["tokens_per_second"] for part in parts if "tokens_per_second" in part]
        size = self.size
        shape = ", ".join(f"{name} {value}" for name, value in size.shape.items())
        return {
            "name": "gpu",
            "unit": "learned tokens/s",
            "ours": rates[0] if rates else None,
            "conditions": f"Mistral architecture ({shape}), random weights, NF4 with double "
            f"quantisation, LoRA r=16 on all linear layers, {size.rows_per_step} rows of "
            f"{size.context} tokens a step, one a pass, checkpointing, 8-bit AdamW, at most "
            f"{BUDGET_GIB:g} GiB; median over the steps of one process but its first",
            "seconds": round(sum(part["seconds"] for part in parts), 1),
            "parts": parts,
            **self.card,
        }
