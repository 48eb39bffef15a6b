"""Training against trl's SFTTrainer and transformers' Trainer: same weights, rows, labels, LoRA.

Every run is a process of its own, with the model loaded and every library called once before the
clock starts. Parties take turns; each peer's run stands beside one of ours in time, and only those
two are compared. Losses after each step, and of the trained models on the same rows, must agree.

    python benchmarks/train.py [--quick] [--repeat 3] [--cases short full] [--ours key=value ...]
    python benchmarks/train.py --growth     # cost over context and over rows
    python benchmarks/train.py --profile    # where a step's time goes: docs/training_step.md, .png
    python benchmarks/train.py --gpu --part weights|512|2048|4096|16384|longest
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from surroundings import Card, surroundings
from training import gpu, rows
from training.comparison import (
    GROUPED,
    OURS,
    TRAINER,
    TRL,
    TRL_BEST,
    TRL_GROUPED,
    Case,
    compare,
)
from training.party import Setting, in_child

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
EMBEDDED = "package:smollm2_135m"
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "understudy")
PEERS = ("unsloth", "liger-kernel", "flash-attn")
"""What a GPU's peers may use where it is installed."""
LORA = ("adapter=lora", "adapter.r=16", "adapter.alpha=32", "optim=adamw", "optim.lr=1e-3")


def main() -> None:
    """Do what was asked for; write the result and print it as the last line."""
    given = arguments()
    if given.child:
        in_child(given.child)
        return
    # As an exception it ends the process that is training, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ours = replace(OURS, options=tuple(given.ours))
    with tempfile.TemporaryDirectory(prefix="understudy-train-") as folder:
        if given.gpu:
            name, result = f"train-gpu-{given.part}", gpu.measure(given.part, ours, Path(folder))
        elif given.growth:
            from training import growth

            overrides = (*model_of(given.base), *LORA)
            name, result = "train-growth", growth.measure(overrides, ours, Path(folder))
        elif given.profile:
            from training import step_profile

            overrides = (*model_of(given.base), *LORA)
            name, result = "train-profile", step_profile.measure(overrides, ours)
        else:
            repeat = 1 if given.quick else given.repeat
            cases = cpu_cases(given.cases, given.base, Path(folder), quick=given.quick)
            name = "train-quick" if given.quick else "train"
            result = worst([compare(case, ours, repeat) for case in cases])
    # Asked last: before, this process would hold memory of the GPU that is measured.
    result |= surroundings(*PACKAGES, *(PEERS if given.gpu else ()), card=Card.found())
    result["commit"] = given.commit or result["commit"]
    given.results.mkdir(parents=True, exist_ok=True)
    file = given.results / f"{name}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"train: written: {file}", file=sys.stderr, flush=True)
    print(json.dumps(result))
    sys.exit(0 if result.get("agree", True) and "failed" not in result else 1)


def arguments() -> argparse.Namespace:
    """What the person asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rows, once: three minutes")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of every case")
    parser.add_argument("--cases", nargs="+", choices=("short", "full"), default=["short", "full"])
    parser.add_argument("--base", default=EMBEDDED, help="another model with SmolLM2's tokenizer")
    parser.add_argument(
        "--ours", nargs="+", default=[], help="our settings, as memory.packing=true"
    )
    parser.add_argument("--growth", action="store_true", help="cost over context and over rows")
    parser.add_argument("--profile", action="store_true", help="where a step's time goes")
    parser.add_argument("--gpu", action="store_true", help="a 7B and an 8B shape on a CUDA GPU")
    parser.add_argument(
        "--part",
        choices=gpu.PARTS,
        default="4096",
        help="with --gpu: `weights` first, a few minutes; then each in under 8 minutes (4096)",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the result")
    parser.add_argument("--commit", help="what to note as commit where git cannot be asked")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def cpu_cases(names: Sequence[str], base: str, folder: Path, *, quick: bool) -> list[Case]:
    """Short chats and full rows, made from the sample show's talk."""
    from understudy.config.model import ModelConfig
    from understudy.models.tokenizer import load_encoder

    encoder = load_encoder(ModelConfig(name="smollm2_135m", base=base, dialect="smollm2"))
    model = model_of(base)
    epochs = {"epochs": 1} if quick else {"epochs": 2, "warm_epochs": 1}
    first = "the only epoch" if quick else "the second of two epochs"
    cases = []
    if "short" in names:
        chats = rows.short_chats(encoder, 8 if quick else 24)
        rows.write(folder / "short.json", chats)
        both = () if quick else (TRL_GROUPED,)
        cases.append(
            Case(
                name="short chats, 40 to 500 tokens",
                setting=Setting(
                    overrides=(*model, *LORA),
                    rows=str(folder / "short.json"),
                    rows_per_step=8,
                    **epochs,
                ),
                peers=(TRL, TRAINER, GROUPED, TRL_BEST, *both),
                conditions=f"{told(chats)}, 8 rows a step, {first} timed",
            )
        )
    if "full" in names:
        whole = rows.full_rows(encoder, 2 if quick else 8, 1024)
        rows.write(folder / "full.json", whole)
        cases.append(
            Case(
                name="full rows of 1024 tokens",
                setting=Setting(
                    overrides=(*model, *LORA),
                    rows=str(folder / "full.json"),
                    rows_per_step=2 if quick else 8,
                    **epochs,
                ),
                peers=(TRL, TRL_BEST, TRAINER),
                conditions=f"{told(whole)}, {2 if quick else 8} rows a step, {first} timed",
            )
        )
    return cases


def model_of(base: str) -> tuple[str, str]:
    """The model, as overrides of our config."""
    return ("model=smollm2_135m", f"model.base={base}")


def told(examples: Sequence[Any]) -> str:
    """Rows in words."""
    tokens = sum(len(example.ids) for example in examples)
    labels = sum(example.supervised for example in examples)
    return f"{len(examples)} rows, {tokens:,} tokens, {labels:,} of them learned"


def worst(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The result: on top the case in which we are least ahead."""
    least = min(cases, key=lambda one: float(one["ratio"] or 0))
    keys = ("unit", "ours", "peer", "peer_name", "ratio", "conditions")
    agree = all(case["agree"] for case in cases)
    return {"name": "train", **{k: least.get(k) for k in keys}, "agree": agree, "cases": cases}


if __name__ == "__main__":
    main()
