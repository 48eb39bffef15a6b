"""A training run: how it stands, what it measured, which checkpoints it has."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from rich.console import Console

from understudy.records import jsonl
from understudy.show.screen import table, text

SUMMARY = {
    "train_loss": "train loss (last epoch, while the weights moved)",
    "base_loss": "held-out loss of the base",
    "valid_loss": "held-out loss at the end",
    "perplexity": "perplexity at the end",
    "gap": "held-out loss above train loss",
    "best_loss": "lowest held-out loss",
    "best_epoch": "of epoch",
    "best_step": "at step",
}
"""What is shown of `summary.json`, in words."""
MEMORY = {
    "micro_batch": "lines in a pass",
    "packing": "packed",
    "line_tokens": "tokens of a line",
    "checkpointed_blocks": "blocks recomputed",
    "offload": "their inputs in main memory",
    "mlp_tile": "tokens in a tile of the MLP",
}
"""What is shown of the plan in `memory.json`, in words."""
GOING_ON = ("running", "validating_files")
VALID_LOSS, VALID_ACCURACY = "full_valid_loss", "full_valid_mean_token_accuracy"


def fits(path: Path) -> bool:
    """Whether the folder is a training run."""
    return (path / "status.json").is_file() or (path / "metrics.jsonl").is_file()


def show(path: Path, console: Console) -> None:
    """Print status, held-out scores by epoch, last metrics, speed, memory, summary, checkpoints."""
    _print_status(path, console)
    metrics = jsonl.read_whole(path / "metrics.jsonl")
    summary = path / "summary.json"
    lines = [line for line in metrics if VALID_LOSS in line]
    if lines:
        _print_valid(lines, console)
    else:
        console.print(text(f"held out: nothing measured{'' if summary.is_file() else ' yet'}"))
    _print_facts("last metrics", _last(metrics), console)
    _print_facts("last timing", _last(jsonl.read_whole(path / "timing.jsonl")), console)
    _print_memory(path / "memory.json", console)
    _print_summary(summary, console)
    _print_checkpoints(path / "checkpoints", console)


def _print_status(path: Path, console: Console) -> None:
    try:
        record = json.loads((path / "status.json").read_text(encoding="utf-8"))
        state = str(record.pop("state"))
    except (OSError, ValueError, KeyError, AttributeError):
        record, state = {}, "unknown: status.json is missing or cannot be read"
    style = {"succeeded": "green", "failed": "red"}.get(state, "yellow")
    console.print(text(f"{path.name}: {state}", f"bold {style}"))
    for name, value in record.items():
        console.print(text(f"  {name}: {_said(value)}"), soft_wrap=True)
    if state == "succeeded" and not (path / "manifest.json").is_file():
        console.print(text("  but it has no manifest: it is not finished", "red"))
    if state in GOING_ON and _is_dead(record):
        step, steps = record.get("step", 0), record.get("steps", "?")
        message = f"  but its process is gone: it was killed after step {step} of {steps}"
        console.print(text(f"{message}; the same command goes on from its last checkpoint", "red"))


def _is_dead(status: dict[str, Any]) -> bool:
    """Whether the process that wrote a status is gone; unknown, so no, for one of another host."""
    process = status.get("process")
    if status.get("host") != socket.gethostname() or not isinstance(process, int):
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _print_valid(lines: list[dict[str, Any]], console: Console) -> None:
    """Held-out loss and accuracy; the line of step 0 is the base model's."""
    base = next((float(line[VALID_LOSS]) for line in lines if line.get("step") == 0), None)
    shown = table("held out", "#step", "#loss", "#against base", "#token accuracy")
    for line in lines:
        loss, accuracy = float(line[VALID_LOSS]), line.get(VALID_ACCURACY)
        epoch = line.get("epoch")
        name = "base" if line.get("step") == 0 else f"epoch {epoch:g}" if epoch else ""
        change = f"{loss / base - 1:+.1%}" if base else ""
        shown.add_row(
            name,
            f"{line.get('step', '')}",
            f"{loss:.4f}",
            change,
            f"{accuracy:.1%}" if isinstance(accuracy, float) else "",
        )
    console.print(shown)


def _print_summary(path: Path, console: Console) -> None:
    """What a finished run came to, and what it warned of."""
    if not path.is_file():
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        warnings = [str(warning) for warning in record["warnings"]]
        facts = {name: record[key] for key, name in SUMMARY.items() if record[key] is not None}
    except (OSError, ValueError, KeyError, TypeError):
        console.print(text("summary: summary.json cannot be read", "yellow"))
        return
    _print_facts("summary", facts, console)
    for warning in warnings:
        console.print(text(f"warning: {warning}", "yellow"), soft_wrap=True)


def _print_memory(path: Path, console: Console) -> None:
    """How the run is laid into memory, and what else was tried for it."""
    if not path.is_file():
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        tried = [each for each in record["tried"] if each["tokens_per_second"]]
        mine = next((each for each in tried if each["plan"] == record["plan"]), None)
        facts = {MEMORY[name]: value for name, value in record["plan"].items() if value is not None}
    except (OSError, ValueError, KeyError, TypeError):
        console.print(text("memory: memory.json cannot be read", "yellow"))
        return
    if mine is not None:
        speed, peak = mine["tokens_per_second"], mine["peak_bytes"] / 2**30
        chosen = f"{speed:,.0f} tokens/s, {peak:.1f} GiB; fastest of {len(tried)} timed"
        facts["by trial"] = chosen
    _print_facts("memory", facts, console)


def _last(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return lines[-1] if lines else {}


def _print_facts(head: str, facts: dict[str, Any], console: Console) -> None:
    shown = ", ".join(f"{name} {_said(value)}" for name, value in facts.items())
    console.print(text(f"{head}: {shown or 'none yet'}"), soft_wrap=True)


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _print_checkpoints(folder: Path, console: Console) -> None:
    found = sorted(folder.glob("step-*")) if folder.is_dir() else []
    names = [
        each.name if (each / "manifest.json").is_file() else f"{each.name} (not finished)"
        for each in found
    ]
    console.print(text(f"checkpoints: {', '.join(names) or 'none yet'}"), soft_wrap=True)
