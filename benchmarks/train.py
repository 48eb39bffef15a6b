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
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training import meter, rows
from training.party import Party, Setting, alone, in_child

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
UNIT = "real tokens/s"
EMBEDDED = "package:smollm2_135m"
LORA = ("adapter=lora", "adapter.r=16", "adapter.alpha=32", "optim=adamw", "optim.lr=1e-3")
BOUND = 0.02
"""Most by which the losses of two parties may lie apart, in nats: bf16 rounds differently in every
kernel, and Adam carries it on."""
GROUPED_BOUND = 0.2
"""The same where a party's steps see the rows in an order of its own; only the end is compared."""

OURS = Party(name="ours", kind="ours")
TRL = Party(name="trl SFTTrainer, its defaults", kind="trl", batch=8, checkpointing=True)
TRL_BEST = Party(name="trl SFTTrainer, batch 1, nothing recomputed", kind="trl")
TRL_GROUPED = Party(
    name="trl SFTTrainer, batch 4 of like length, nothing recomputed",
    kind="trl",
    batch=4,
    grouped=True,
)
TRAINER = Party(name="transformers Trainer, batch 1", kind="trainer")
GROUPED = Party(
    name="transformers Trainer, batch 4 of like length", kind="trainer", batch=4, grouped=True
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is trained, and by whom beside us."""

    name: str
    setting: Setting
    peers: tuple[Party, ...]
    conditions: str


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
            from training import gpu

            name, result = f"train-gpu-{given.part}", gpu.measure(given.part, ours, Path(folder))
        elif given.growth:
            from training import growth

            name, result = "train-growth", growth.measure(ours, Path(folder))
        elif given.profile:
            from training import step_profile

            name, result = "train-profile", step_profile.measure(ours)
        else:
            repeat = 1 if given.quick else given.repeat
            cases = cpu_cases(given.cases, given.base, Path(folder), quick=given.quick)
            name, result = "train", worst([compare(case, ours, repeat) for case in cases])
    result |= surroundings()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))
    sys.exit(0 if result.get("agree", True) else 1)


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
    for name in ("growth", "profile", "gpu"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--part", default="4096", help="with --gpu: which part")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def cpu_cases(names: Sequence[str], base: str, folder: Path, *, quick: bool) -> list[Case]:
    """Short chats and full rows, made from the sample show's talk."""
    from understudy.config.model import ModelConfig
    from understudy.models.tokenizer import load_encoder

    encoder = load_encoder(ModelConfig(name="smollm2_135m", base=base, dialect="smollm2"))
    model = ("model=smollm2_135m", f"model.base={base}")
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


def told(examples: Sequence[Any]) -> str:
    """Rows in words."""
    tokens = sum(len(example.ids) for example in examples)
    labels = sum(example.supervised for example in examples)
    return f"{len(examples)} rows, {tokens:,} tokens, {labels:,} of them learned"


def compare(case: Case, ours: Party, repeat: int) -> dict[str, Any]:
    """All parties, `repeat` times in turn."""
    pairs: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for number in range(repeat):
        peers = case.peers if number % 2 == 0 else case.peers[::-1]
        for first in range(0, len(peers), 2):
            couple = peers[first : first + 2]
            found = [spoken(case, couple[0]), spoken(case, ours)]
            found += [spoken(case, peer) for peer in couple[1:]]
            for peer, figures in zip(couple, (found[0], *found[2:]), strict=True):
                pairs.setdefault(peer.name, []).append((found[1], figures))
    return summary(case, ours, pairs)


def spoken(case: Case, party: Party) -> dict[str, Any]:
    """One run, and a line about it for who waits."""
    figures = alone(case.setting, party)
    short = figures.get("failed") or (
        f"{figures['tokens_per_second']:.0f} {UNIT}, peak {figures['peak_bytes'] / 2**20:,.0f} MiB"
    )
    print(f"train: {case.name}: {party.name}: {short}", file=sys.stderr, flush=True)
    return figures


def summary(
    case: Case, ours: Party, pairs: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]
) -> dict[str, Any]:
    """One case of the result; `ratio` is ours over the fastest peer."""
    mine = [pair[0] for found in pairs.values() for pair in found if "failed" not in pair[0]]
    if not mine:
        failed = next(iter(pairs.values()))[0][0]
        return {"name": case.name, "agree": False, "ratio": 0.0, **failed}
    grouped = {peer.name for peer in case.peers if peer.grouped}
    parties = [figures_of(ours.name, mine, None)]
    for name, found in pairs.items():
        whole = [pair for pair in found if not any("failed" in one for one in pair)]
        if not whole:
            parties.append({"name": name, **found[0][1]})
            continue
        one = figures_of(name, [pair[1] for pair in whole], [pair[0] for pair in whole])
        one |= agreement(mine[0], whole[0][1], alone=name in grouped)
        parties.append(one)
    peers = [one for one in parties[1:] if "failed" not in one]
    best = min(peers, key=lambda one: one["ratio"], default=None)
    made = {
        "name": case.name,
        "unit": UNIT,
        "ours": parties[0]["tokens_per_second"],
        "peer": best and best["tokens_per_second"],
        "peer_name": best and best["name"],
        "ratio": best and best["ratio"],
        "conditions": f"{case.conditions}, median of {len(next(iter(pairs.values())))}, "
        f"alternating, each in a fresh process, loading left out; {'; '.join(LORA)}, "
        f"adapter in fp32, the rest in bf16{''.join(f', ours {o}' for o in ours.options)}",
        "over_trl_defaults": next((p["ratio"] for p in peers if p["name"] == TRL.name), None),
        "memory_over_best": best and round(parties[0]["peak_bytes"] / best["peak_bytes"], 3),
        "agree": bool(peers) and all(one["agree"] for one in peers),
        "bounds": {"losses": BOUND, "grouped": GROUPED_BOUND},
        "operations": meter.FORMULA,
        "parties": parties,
        "load": os.getloadavg()[0],
    }
    print(json.dumps(made), file=sys.stderr)
    return made


def figures_of(
    name: str, found: list[dict[str, Any]], ours: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """Medians over a party's runs; `ratio` pairs each with the run of ours beside it."""
    keys = ("tokens_per_second", "seconds", "first_step_seconds", "product_rate", "product_use")
    made = {"name": name}
    made |= {key: tidy(statistics.median(one[key] for one in found)) for key in keys}
    made |= {key: max(one[key] for one in found) for key in ("peak_bytes", "held_bytes")}
    made |= {"losses": found[0]["losses"], "loss_after": found[0]["loss_after"]}
    if ours is not None:
        ratios = [
            mine["tokens_per_second"] / theirs["tokens_per_second"]
            for mine, theirs in zip(ours, found, strict=True)
        ]
        made |= {
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(r, 3) for r in ratios],
        }
    return made


def agreement(mine: dict[str, Any], theirs: dict[str, Any], *, alone: bool) -> dict[str, Any]:
    """How far two parties' losses lie apart at most: at every step, and in the end."""
    after = [mine["loss_after"], theirs["loss_after"]]
    apart = [] if None in after else [abs(after[0] - after[1])]
    if not alone:
        assert len(mine["losses"]) == len(theirs["losses"]), (mine["losses"], theirs["losses"])
        apart += [abs(a - b) for a, b in zip(mine["losses"], theirs["losses"], strict=True)]
    widest = max(apart, default=0.0)
    return {"apart": round(widest, 4), "agree": widest <= (GROUPED_BOUND if alone else BOUND)}


def tidy(number: float) -> float:
    """Four figures that mean something."""
    return float(f"{number:.4g}")


def worst(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The result: on top the case in which we are least ahead."""
    least = min(cases, key=lambda one: float(one["ratio"] or 0))
    keys = ("unit", "ours", "peer", "peer_name", "ratio", "conditions")
    agree = all(case["agree"] for case in cases)
    return {"name": "train", **{k: least.get(k) for k in keys}, "agree": agree, "cases": cases}


def surroundings() -> dict[str, Any]:
    """Hardware, versions, commit."""
    names = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "understudy")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return {
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), **{n: installed(n) for n in names}},
        "commit": commit.stdout.strip() or None,
    }


def installed(name: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
