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

from training import meter, rows
from training.comparison import TRL, Case, compare
from training.party import Party, Setting, elsewhere

BUDGET_GIB = 24.0
MINUTES = 7.5
SUPPORT = Path(__file__).parent.parent.parent / "tests" / "support"
STEP_TOKENS = 16_384
DEFAULT_BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A model's sizes, by the names of transformers' configs."""

    name: str
    kind: str
    """`Mistral` or `Llama`."""
    sizes: Mapping[str, int]
    r: int
    alpha: int


MISTRAL = Shape(
    name="mistral-7b",
    kind="Mistral",
    sizes={
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32_768,
    },
    r=16,
    alpha=32,
)
LLAMA = Shape(
    name="llama-3.1-8b",
    kind="Llama",
    sizes={**MISTRAL.sizes, "vocab_size": 128_256, "max_position_embeddings": 131_072},
    r=32,
    alpha=64,
)
PARTS = ("weights", "512", "2048", "4096", "16384", "longest")


def measure(part: str, ours: Party, folder: Path) -> dict[str, Any]:
    """One part.

    Raises:
        SystemExit: there is no such part, or no GPU.
    """
    if part not in PARTS:
        sys.exit(f"--part {part} is not known: choose one of {', '.join(PARTS)}.")
    if not meter.on_gpu():
        sys.exit("no CUDA device is seen here, and --gpu measures one.")
    if part == "weights":
        return {"name": "train weights", "folders": [str(weights(s)) for s in (MISTRAL, LLAMA)]}
    if part == "longest":
        return longest(LLAMA, ours)
    return context(MISTRAL, int(part), ours, folder)


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
    """Draw weights in bf16, quantise them, keep only those in 4 bits."""
    import transformers

    sys.path.append(str(SUPPORT))
    import made_up

    raw = target.with_name(f"{target.name}-raw")
    for old in (raw, target):
        shutil.rmtree(old, ignore_errors=True)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    own = {"sliding_window": None} if shape.kind == "Mistral" else {"rope_theta": 500_000.0}
    config = getattr(transformers, f"{shape.kind}Config")(
        **shape.sizes,
        **ends,
        **own,
        tie_word_embeddings=False,
        architectures=[f"{shape.kind}ForCausalLM"],
        dtype="bfloat16",
    )
    encoder = made_up.tokenizer(made_up.words(2000), config.vocab_size)
    made_up.write_model(raw, config, encoder, "cuda" if meter.on_gpu() else "cpu")
    elsewhere({"quantise": [str(raw), str(target)]})
    shutil.rmtree(raw)
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
    )


# --- speed at a length ---


def context(shape: Shape, length: int, ours: Party, folder: Path) -> dict[str, Any]:
    """Everybody on rows of one length: two warm steps, two timed ones."""
    case = case_of(shape, weights(shape), length, folder)
    if not ours.options:
        ours = replace(ours, options=("memory.micro_batch=1", "memory.checkpointing=true"))
    until = time.monotonic() + 60 * MINUTES
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
        peers=peers(rows_per_step),
        conditions=f"random weights, NF4, r={shape.r} on all linear layers, no sliding window, "
        f"{rows_per_step} rows a step (trl's default batch of 8 is at most these), held to "
        f"{BUDGET_GIB:g} GiB, two warm steps and two timed ones",
    )


def peers(rows_per_step: int) -> tuple[Party, ...]:
    """SFTTrainer as it comes, what may be its best setting, and Unsloth where it is installed."""
    batch = min(DEFAULT_BATCH, rows_per_step)
    liger = ("liger",) if find_spec("liger_kernel") else ()
    flash = ("memory.attention=flash_attention_2",) if find_spec("flash_attn") else ()
    best = Party(name="trl", kind="trl", options=(*liger, *flash))
    told = "".join(f", {name}" for name in (*liger, *(f.split("=")[1] for f in flash)))
    found = [
        replace(TRL, batch=batch),
        replace(best, name=f"trl SFTTrainer, batch 1, nothing recomputed{told}"),
        replace(best, name=f"trl SFTTrainer, batch 1, recomputed{told}", checkpointing=True),
    ]
    if find_spec("unsloth"):
        found.append(Party(name="Unsloth with trl", kind="unsloth", batch=min(2, rows_per_step)))
    return tuple(found)


# --- the longest row ---


def longest(shape: Shape, ours: Party) -> dict[str, Any]:
    """The longest row whose whole step fits, to 1024 tokens."""
    found = elsewhere(
        {"longest": [shape.name, str(weights(shape)), list(ours.options)]}, 60 * (MINUTES + 0.3)
    )
    return {
        "name": "train gpu longest",
        "unit": "tokens",
        "ours": found.get("tokens"),
        "peer": 78_475,
        "peer_name": "Unsloth's documentation (published, not measured here)",
        "ratio": None if "failed" in found else round(found["tokens"] / 78_475, 3),
        "conditions": f"{shape.name} in NF4, r={shape.r}, one row a step, {BUDGET_GIB:g} GiB",
        **found,
    }


def try_lengths(shape: Shape, base: Path, options: tuple[str, ...], most: int) -> dict[str, Any]:
    """In this process: longer rows until one does not fit, then in between."""
    import torch

    from training import ours
    from understudy.train import step

    meter.hold(BUDGET_GIB)
    setting = Setting(overrides=overrides(shape, base, most), rows="", rows_per_step=1)
    own = options or ("memory.checkpointing=true",)
    config = ours.config_of(setting, Party(name="ours", kind="ours", options=own))
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

    best, ended = search(fits, 4096, most, 1024, 60 * MINUTES)
    return {"tokens": best, "search_ended": ended, "tried": tried}


def search(
    fits: Callable[[int], bool], start: int, most: int, grain: int, seconds: float
) -> tuple[int, str]:
    """The longest length that fits: up by half each time, then halving the gap.

    Returns:
        The length (0: none), and why it ended: `found`, `most` or `time`.
    """
    began = time.monotonic()
    good, bad, length = 0, 0, min(start, most)
    while time.monotonic() - began < seconds:
        if fits(length):
            good = length
        else:
            bad = length
        if good == most:
            return good, "most"
        if bad and bad - good <= grain:
            return good, "found"
        length = (good + bad) // 2 if bad else min(most, length * 3 // 2)
    return good, "time"
