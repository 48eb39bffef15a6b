"""What became of a set's words: the ledger, the diversity report, what was rejected."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from understudy.show.screen import table, text

REJECTED_SHOWN = 20
KINDS = ("corpora", "categories", "creators")
SHARES_SHOWN = 5


def print_ledger(ledger: dict[str, Any], console: Console) -> None:
    """Words in = trained + context + dropped by reason; tokens and notes beside them."""
    words_in = int(ledger.get("words_in", 0))
    lines = [("in", words_in)]
    lines += [(name, int(ledger.get(f"words_{name}", 0))) for name in ("trained", "context")]
    lines += _dropped(ledger)
    shown = table("ledger", "#words", "#share")
    for name, count in lines:
        share = f"{count / words_in:.1%}" if words_in else ""
        shown.add_row(text(name), f"{count:,}", share)
    console.print(shown)
    missing = 2 * words_in - sum(count for _, count in lines)
    if missing:
        console.print(text(f"{missing:,} words are not accounted for", "red"))
    tokens = [f"{count:,} {name}" for name, count in (ledger.get("tokens") or {}).items()]
    console.print(text(f"tokens: {', '.join(tokens) or 'not counted'}"))
    notes = [f"{name} {count:,}" for name, count in (ledger.get("notes") or {}).items()]
    if notes:
        console.print(text(f"notes: {', '.join(notes)}"), soft_wrap=True)


def _dropped(ledger: dict[str, Any]) -> list[tuple[str, int]]:
    """Dropped words by reason, and whether the config asked for it, where the ledger tells."""
    unasked = ledger.get("unasked")
    lines = []
    for reason, count in Counter(ledger.get("words_dropped") or {}).most_common():
        if unasked is None:
            lines.append((f"dropped: {reason}", count))
            continue
        alone = int(unasked.get(reason, 0))
        kinds = (("asked", count - alone), ("unasked", alone))
        lines += [(f"dropped ({kind}): {reason}", words) for kind, words in kinds if words]
    return lines


def print_diversity(path: Path, console: Console) -> None:
    """Duplicates, how the rows are spread, and warnings where a model would collapse."""
    if not path.is_file():
        return
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        lines = [*_duplicates(report), *_spreads(report)]
        warnings = [str(warning) for warning in report.get("warnings", [])]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        console.print(text(f"{path.name} cannot be read: {error!r}", "red"))
        return
    for line in lines:
        console.print(text(line), soft_wrap=True)
    for warning in warnings:
        console.print(text(f"warning: {warning}", "yellow"), soft_wrap=True)


def _duplicates(report: dict[str, Any]) -> list[str]:
    found = report.get("duplicates")
    if found is None:
        return []
    across = found["across_split"]
    fate = "removed" if across["removed"] else "kept"
    return [
        f"duplicates: {found['within_train']:,} within the training rows",
        f"across the split: {across['exact']:,} exact and {across['near']:,} near ({fate})",
    ]


def _spreads(report: dict[str, Any]) -> list[str]:
    """Kinds of training rows, where there is more than one, and the most common labels."""
    kinds = {name: report.get(name, {}).get("train") for name in KINDS}
    lines = []
    for name, spread in (*kinds.items(), ("labels", report.get("labels"))):
        if spread and spread["distinct"] > 1:
            shares = [f"{one} {share:.1%}" for one, share in spread["shares"].items()]
            common = ", ".join(shares[:SHARES_SHOWN])
            lines.append(
                f"{name}: {spread['distinct']:,}, entropy {spread['entropy_bits']:g} bits; {common}"
            )
    return lines


def print_rejected(rejected: list[dict[str, Any]], console: Console) -> None:
    """Bad rows and unusable items with file, line and reason; many of them cut short."""
    for entry in rejected[:REJECTED_SHOWN]:
        where = ", line ".join(str(entry[key]) for key in ("source", "line") if entry.get(key))
        console.print(text(f"rejected: {where}: {entry.get('reason')}", "red"), soft_wrap=True)
    if len(rejected) > REJECTED_SHOWN:
        more = len(rejected) - REJECTED_SHOWN
        console.print(text(f"rejected: {more:,} more, in rejected.jsonl", "red"))
