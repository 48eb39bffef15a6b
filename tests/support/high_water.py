"""What a trial finds on a wide model, by the kernel's own count of memory.

Run as a program, with a folder: memory that other work left behind in a process would count too.
Prints `memory.json` as found with all memory there is, and within a budget that forces some blocks
to be recomputed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import by_hand

from understudy.train import choice, longest, meter, optimizer

FIXED = ("memory=auto", "model.context=512", "memory.micro_batch=1", "memory.packing=false")


def settled(folder: Path, *overrides: str) -> dict[str, Any]:
    base = by_hand.random_model(
        attention="sdpa", num_hidden_layers=8, hidden_size=64, intermediate_size=4096
    )
    rows = by_hand.talks(0, 2, longest=120)
    settings = by_hand.config(*FIXED, *overrides)
    run = by_hand.training(by_hand.with_lora(base), rows, folder, settings)
    run = replace(run, optimizer=optimizer.build(run.model, run.config))
    longest.make_state(run)
    choice.settle(run)
    return dict(json.loads((folder / choice.MEMORY_FILE).read_text()))


def peaks(found: dict[str, Any]) -> dict[int, int]:
    """By how many blocks are recomputed."""
    return {one["plan"]["checkpointed_blocks"]: one["peak_bytes"] for one in found["tried"]}


def main(folder: Path) -> None:
    with by_hand.one_thread():
        free = settled(folder / "free")
        high, low = peaks(free)[0], peaks(free)[8]
        budget = (low + (high - low) * 0.6) / (1 - meter.SPARE_MAIN) / meter.GIB
        within = settled(folder / "within", f"memory.budget_gib={budget:.4f}")
    sys.stdout.write(json.dumps([free, within]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
