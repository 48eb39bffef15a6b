"""QLoRA of large models with random weights on one GPU, held to 24 GiB, in parts of minutes.

The weights are made once, by `--part weights`, and kept in the user's cache: about 4 GB a shape.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shapes import LLAMA_8B, MISTRAL_7B, config_of, made_up

from training import meter, rows
from training.comparison import TRL, Case, compare
from training.party import Party, Setting, elsewhere

BUDGET_GIB = 24.0
MINUTES = 7.5
STEP_TOKENS = 16_384
DEFAULT_BATCH = 8
"""trl's."""
PASS_TOKENS = 2048
"""What keeps a GPU busy in one pass: trl's best batch is of short rows that make up so many."""
PUBLISHED_TOKENS = 78_475
LEANEST = ("memory.checkpointing=true", "memory.offload=true", "memory.mlp_tile=4096")
"""What reaches farthest: at 80,000 tokens the block inputs alone are 20 GB."""
LOAD_SECONDS = 60.0
"""Kept for loading a model and its libraries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A model's sizes, by the names of transformers' configs."""

    name: str
    kind: str
    """`Mistral` or `Llama`."""
    sizes: Mapping[str, int]
    r: int
    alpha: int


MISTRAL = Shape(name="mistral-7b", kind="Mistral", sizes=MISTRAL_7B, r=16, alpha=32)
LLAMA = Shape(name="llama-3.1-8b", kind="Llama", sizes=LLAMA_8B, r=32, alpha=64)
PARTS = ("weights", "512", "2048", "4096", "16384", "longest")


def measure(part: str, ours: Party, folder: Path) -> dict[str, Any]:
    """One part, in less than 8 minutes.

    Raises:
        SystemExit: there is no such part, no GPU, or no weights could be made.
    """
    until = time.monotonic() + 60 * MINUTES
    if part not in PARTS:
        sys.exit(f"--part {part} is not known: choose one of {', '.join(PARTS)}.")
    if not meter.on_gpu():
        sys.exit("no CUDA device is seen here, and --gpu measures one.")
    if part == "weights":
        return {"name": "train weights", "folders": [str(weights(s)) for s in (MISTRAL, LLAMA)]}
    if part == "longest":
        return longest(LLAMA, ours, until)
    return context(MISTRAL, int(part), ours, folder, until)


# --- weights ---


def weights(shape: Shape) -> Path:
    """The folder of a shape's random weights in NF4, made where it is not there."""
    from understudy.models.packages import cache_folder

    target = cache_folder() / "benchmarks" / f"{shape.name}-nf4"
    if not (target / "done").exists():
        print(f"train: making {target}", file=sys.stderr, flush=True)
        make_weights(shape, target)
    return target


def make_weights(shape: Shape, target: Path) -> None:
    """Draw weights in bf16, quantise them, keep only those in 4 bits.

    Raises:
        SystemExit: they could not be quantised.
    """
    raw = target.with_name(f"{target.name}-raw")
    for old in (raw, target):
        shutil.rmtree(old, ignore_errors=True)
    config = config_of(shape.kind, shape.sizes)
    parts = made_up()
    encoder = parts.tokenizer(parts.words(2000), config.vocab_size)
    parts.write_model(raw, config, encoder, "cuda" if meter.on_gpu() else "cpu")
    found = elsewhere({"quantise": [str(raw), str(target)]})
    shutil.rmtree(raw)
    if "failed" in found:
        sys.exit(f"{target} could not be made: {found['failed']}")
    (target / "done").touch()


def quantise(raw: Path, target: Path) -> dict[str, Any]:
    """Load a folder in NF4 as we always do, and save it so."""
    from transformers import AutoTokenizer

    from understudy.config.adapter import AdapterConfig, Quantisation
    from understudy.config.model import ModelConfig
    from understudy.models.base import load_base

    config = ModelConfig(name="random", base=str(raw), dialect="chatml")
    load_base(config, AdapterConfig(quantisation=Quantisation.nf4)).save_pretrained(target)
    AutoTokenizer.from_pretrained(raw).save_pretrained(target)
    return {"folder": str(target)}


def overrides(shape: Shape, base: Path, length: int) -> tuple[str, ...]:
    """Model and adapter for everybody."""
    return (
        f"model.base={base}",
        f"model.name={shape.name}",
        "model.dialect=chatml",
        f"model.context={length}",
        "adapter=qlora",
        f"adapter.r={shape.r}",
        f"adapter.alpha={shape.alpha}",
        "optim=adamw",
        "optim.lr=1e-4",
        f"memory.budget_gib={BUDGET_GIB:g}",
    )


# --- speed at a length ---


def context(shape: Shape, length: int, ours: Party, folder: Path, until: float) -> dict[str, Any]:
    """Everybody on rows of one length: two warm steps, two timed ones."""
    case = case_of(shape, weights(shape), length, folder)
    if not ours.options:
        ours = replace(ours, options=("memory.micro_batch=1", "memory.checkpointing=true"))
    made = compare(case, ours, 1, until)
    return {**made, "name": f"train gpu {length}", "cases": [made], "budget_gib": BUDGET_GIB}


def case_of(shape: Shape, base: Path, length: int, folder: Path) -> Case:
    """The rows, the setting and the peers."""
    rows_per_step = max(2, STEP_TOKENS // length)
    path = folder / f"gpu-{length}.json"
    rows.write(path, rows.random_rows(shape.sizes["vocab_size"], 2 * rows_per_step, length))
    return Case(
        name=f"{shape.name} in NF4, rows of {length} tokens",
        setting=Setting(
            overrides=overrides(shape, base, length),
            rows=str(path),
            rows_per_step=rows_per_step,
            epochs=2,
            warm_epochs=1,
            judged=1,
            budget_gib=BUDGET_GIB,
        ),
        peers=peers(length, rows_per_step),
        conditions=f"random weights, NF4, r={shape.r} on all linear layers, no sliding window, "
        f"{rows_per_step} rows a step (trl's default batch of 8 is at most these), held to "
        f"{BUDGET_GIB:g} GiB, two warm steps and two timed ones",
    )


def peers(length: int, rows_per_step: int) -> tuple[Party, ...]:
    """SFTTrainer as it comes, what may be its best setting, and Unsloth where it is installed."""
    liger = ("liger",) if find_spec("liger_kernel") else ()
    flash = ("memory.attention=flash_attention_2",) if find_spec("flash_attn") else ()
    batch = max(1, min(rows_per_step, PASS_TOKENS // length))
    best = Party(name="trl", kind="trl", batch=batch, options=(*liger, *flash))
    told = "".join(f", {name}" for name in (*liger, *(f.split("=")[1] for f in flash)))
    name = f"trl SFTTrainer, batch {batch}"
    found = [
        replace(TRL, batch=min(DEFAULT_BATCH, rows_per_step)),
        replace(best, name=f"{name}, nothing recomputed{told}"),
        replace(best, name=f"{name}, recomputed{told}", checkpointing=True),
    ]
    if find_spec("unsloth"):
        found.append(Party(name="Unsloth with trl", kind="unsloth", batch=min(2, rows_per_step)))
    return tuple(found)


# --- the longest row ---


def longest(shape: Shape, ours: Party, until: float) -> dict[str, Any]:
    """The longest row whose whole step fits, to 1024 tokens."""
    base = weights(shape)
    left = until - time.monotonic()
    options = ours.options or LEANEST
    work = {"longest": [shape.name, str(base), list(options), left - LOAD_SECONDS]}
    found = elsewhere(work, left)
    tokens = found.get("tokens")
    return {
        "name": "train gpu longest",
        "unit": "tokens",
        "ours": tokens,
        "peer": PUBLISHED_TOKENS,
        "peer_name": "Unsloth's documentation (published, not measured here)",
        "ratio": None if tokens is None else round(tokens / PUBLISHED_TOKENS, 3),
        "conditions": f"{shape.name} in NF4, random weights, r={shape.r} on all linear layers, "
        f"one row a step, held to {BUDGET_GIB:g} GiB; ours {' '.join(options)}",
        **found,
    }


def try_lengths(
    shape: Shape, base: Path, options: tuple[str, ...], most: int, seconds: float
) -> dict[str, Any]:
    """In this process: longer rows until one does not fit, then in between."""
    import torch

    from training import ours
    from understudy.train import step

    meter.hold(BUDGET_GIB)
    setting = Setting(overrides=overrides(shape, base, most), rows="", rows_per_step=1)
    config = ours.config_of(setting, Party(name="ours", kind="ours", options=options))
    model = ours.model_of(config)
    tried: list[dict[str, Any]] = []

    def fits(length: int) -> bool:
        run = ours.training(config, model, rows.random_rows(shape.sizes["vocab_size"], 1, length))
        meter.reset_peak()
        began = time.monotonic()
        fitted = True
        try:
            step.take(run, run.steps[0])
        except torch.OutOfMemoryError:
            fitted = False
        meter.wait()
        tried.append(
            {
                "tokens": length,
                "fits": fitted,
                "seconds": round(time.monotonic() - began, 2),
                "peak_bytes": meter.peak(),
            }
        )
        model.zero_grad(set_to_none=True)
        if meter.on_gpu():
            torch.cuda.empty_cache()
        return fitted

    best, ended = search(fits, 4096, most, 1024, seconds)
    return {"tokens": best, "search_ended": ended, "tried": tried}


def search(
    fits: Callable[[int], bool], start: int, most: int, grain: int, seconds: float
) -> tuple[int, str]:
    """The longest length that fits: up by half each time, then halving the gap.

    One that would take longer than there is time, as attention grows, is not begun.

    Returns:
        The length (0: none), and why it ended: `found`, `most` or `time`.
    """
    began = time.monotonic()
    good, bad, length, took = 0, 0, min(start, most), 0.0
    while time.monotonic() - began + took * (length / max(1, good)) ** 2 < seconds:
        tried = time.monotonic()
        if fits(length):
            good, took = length, time.monotonic() - tried
        else:
            bad = length
        if good == most:
            return good, "most"
        if bad and bad - good <= grain:
            return good, "found"
        length = (good + bad) // 2 if bad else min(most, length * 3 // 2)
    return good, "time"
