"""A prepared set: its rows, what became of every word, and some rows as they are learned."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from understudy.console import UserError
from understudy.records import jsonl, rows
from understudy.records.rows import Message, Row
from understudy.show.screen import clock, table, text

SIDES = ("train", "valid")
TRAINED, CONTEXT = "«trained»", "«context»"


def fits(path: Path) -> bool:
    """Whether the folder is a prepared set."""
    return (path / "ledger.json").is_file() and (path / "train.jsonl").is_file()


def show(path: Path, console: Console, limit: int) -> None:
    """Print counts, the ledger, what was rejected, and the first `limit` rows.

    Raises:
        UserError: a file of the set cannot be read.
    """
    try:
        sides = {side: rows.read(path / f"{side}.jsonl") for side in SIDES}
        ledger = json.loads((path / "ledger.json").read_text(encoding="utf-8"))
        rejected = jsonl.read_whole(path / "rejected.jsonl")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be shown: {error}") from None
    if not (path / "manifest.json").is_file():
        console.print(text(f"{path.name} is not finished: it has no manifest", "yellow"))
    _print_sides(sides, console)
    _print_ledger(ledger, console)
    for entry in rejected:
        console.print(text(f"rejected: {entry.get('source')}: {entry.get('reason')}", "red"))
    shown = [(side, number, row) for side in SIDES for number, row in enumerate(sides[side], 1)]
    for side, number, row in shown[:limit]:
        _print_row(f"{side} row {number}", row, console)


def _print_sides(sides: dict[str, list[Row]], console: Console) -> None:
    shown = table("set", "#items", "#rows", "#words", "#trained words")
    for side, found in sides.items():
        items = len({row.meta.item for row in found})
        trained = sum(_words(m) for row in found for m in row.messages if m.weight)
        words = sum(row.words for row in found)
        shown.add_row(side, *(f"{count:,}" for count in (items, len(found), words, trained)))
    console.print(shown)


def _words(message: Message) -> int:
    return len(message.content.split())


def _print_ledger(ledger: dict[str, Any], console: Console) -> None:
    """Words in = trained + context + dropped by reason; tokens beside them."""
    words_in = int(ledger.get("words_in", 0))
    dropped = Counter(ledger.get("words_dropped") or {})
    lines = [("in", words_in)]
    lines += [(name, int(ledger.get(f"words_{name}", 0))) for name in ("trained", "context")]
    lines += [(f"dropped: {reason}", count) for reason, count in dropped.most_common()]
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


def _print_row(head: str, row: Row, console: Console) -> None:
    meta = row.meta
    span = f"{clock(meta.start)}-{clock(meta.end)}" if meta.start is not None else ""
    facts = ", ".join(filter(None, (meta.corpus, meta.item, meta.category, span)))
    console.print()
    console.print(text(f"{head}: {facts}", "bold"), soft_wrap=True)
    for message in row.messages:
        speaker = meta.speakers.get(message.role)
        who = f"{message.role} ({speaker})" if speaker else message.role
        console.print(_line(who, message, in_colour=console.is_terminal), soft_wrap=True)


def _line(who: str, message: Message, *, in_colour: bool) -> Text:
    """One message; what is learned stands out, by colour or by a marker."""
    said = text(f"{who}: {message.content}", "green" if message.weight else "dim")
    if in_colour:
        return said
    return Text(f"{TRAINED if message.weight else CONTEXT} ").append_text(said)
