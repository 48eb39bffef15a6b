"""Parties taking turns on one case, and what is made of their figures."""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

from training import meter
from training.party import Party, Setting, alone

UNIT = "real tokens/s"
LEAST_SECONDS = 30.0
"""With less than this left no party is started."""
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


def compare(case: Case, ours: Party, repeat: int, until: float = math.inf) -> dict[str, Any]:
    """All parties, `repeat` times in turn, those for whom there is time before `until`."""
    pairs: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for number in range(repeat):
        peers = case.peers if number % 2 == 0 else case.peers[::-1]
        for first in range(0, len(peers), 2):
            couple = peers[first : first + 2]
            order = (couple[0], ours, *couple[1:])
            found = [spoken(case, party, until) for party in order]
            for peer, figures in zip(couple, (found[0], *found[2:]), strict=True):
                pairs.setdefault(peer.name, []).append((found[1], figures))
    return summary(case, ours, pairs)


def spoken(case: Case, party: Party, until: float = math.inf) -> dict[str, Any]:
    """One run, and a line about it for who waits."""
    left = until - time.monotonic()
    if left < LEAST_SECONDS:
        figures: dict[str, Any] = {"failed": "not begun: no time was left"}
    else:
        figures = alone(case.setting, party, None if math.isinf(left) else left)
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
    settings = "; ".join(o for o in case.setting.overrides if not o.startswith("model.base="))
    made = {
        "name": case.name,
        "unit": UNIT,
        "ours": parties[0]["tokens_per_second"],
        "peer": best and best["tokens_per_second"],
        "peer_name": best and best["name"],
        "ratio": best and best["ratio"],
        "conditions": f"{case.conditions}, median of {len(next(iter(pairs.values())))}, "
        f"alternating, each in a fresh process of {mine[0]['threads']} threads, loading left out; "
        f"{settings}; "
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
    keys = ("tokens_per_second", "seconds", "cpu_seconds", "first_step_seconds")
    keys += ("product_rate", "product_use")
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
        apart += [abs(a - b) for a, b in zip(mine["losses"], theirs["losses"], strict=True)]
    widest = max(apart, default=0.0)
    return {"apart": round(widest, 4), "agree": widest <= (GROUPED_BOUND if alone else BOUND)}


def tidy(number: float) -> float:
    """Four figures that mean something."""
    return float(f"{number:.4g}")
