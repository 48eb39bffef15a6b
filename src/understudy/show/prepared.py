"""A prepared set: its rows, what became of every word, and some rows as they are learned."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from understudy.console import UserError
from understudy.records import jsonl
from understudy.show import account, made_for, side, span
from understudy.show import row as row_view
from understudy.show.card import Plan
from understudy.show.histogram import Histogram, quantile
from understudy.show.made_for import MadeFor
from understudy.show.screen import speaks_unicode, table, text
from understudy.show.side import Side

if TYPE_CHECKING:
    from understudy.chat.encoder import Encoder

SIDES = ("train", "valid")
DEFAULT_ROWS = 2
"""Rows that are printed, as messages, where no number is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How much of a set a person wants to see."""

    rows: int | None = None
    """So many rows, token by token; None: two of them as messages, without loading a tokenizer."""
    plan: Plan | None = None
    """What to estimate."""


def fits(path: Path) -> bool:
    """Whether the folder is a prepared set."""
    return (path / "ledger.json").is_file() and (path / "train.jsonl").is_file()


def show(path: Path, console: Console, look: Look) -> None:
    """Print counts, lengths, the ledger, what was rejected, an estimate, and the first rows.

    Raises:
        UserError: a file of the set cannot be read, or it cannot be estimated.
    """
    if not (path / "manifest.json").is_file():
        console.print(text(f"{path.name} is not finished: it has no manifest", "yellow"))
    encoder = None if look.rows is None else _encoder(path, console)
    limit = DEFAULT_ROWS if look.rows is None else look.rows
    try:
        sides = {name: side.read(path / f"{name}.jsonl", limit, encoder) for name in SIDES}
        ledger = json.loads((path / "ledger.json").read_text(encoding="utf-8"))
        rejected = jsonl.read_whole(path / "rejected.jsonl")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be shown: {error}") from None
    _print_sides(sides, console)
    _print_lengths(sides, console)
    account.print_ledger(ledger, console)
    account.print_diversity(path / "diversity.json", console)
    account.print_rejected(rejected, console)
    if look.plan is not None:
        _print_estimate(look.plan, path, sides, ledger, console)
    how = "as tokens" if encoder else "as messages"
    hint = " (--rows N: as tokens)" if look.rows is None else ""
    _print_rows(sides, limit, f"{how}{hint}", encoder, console)


def _encoder(path: Path, console: Console) -> Encoder | None:
    """The encoder the set was made for; where there is none to be had, the reason is printed."""
    try:
        return made_for.read(path).encoder()
    except UserError as error:
        shown = f"rows are shown as messages, not as tokens: {error}"
        console.print(text(shown, "yellow"), soft_wrap=True)
        return None


def _print_sides(sides: dict[str, Side], console: Console) -> None:
    in_tokens = any(found.lengths for found in sides.values())
    columns = ("set", "#items", "#rows", "#words", "#trained words")
    shown = table(*columns, *(("#tokens",) if in_tokens else ()), "#supervised")
    for name, found in sides.items():
        counts = [len(found.items), found.rows, sum(found.words), found.trained_words]
        cells = [f"{count:,}" for count in counts]
        if in_tokens:
            cells.append(f"{'' if found.step == 1 else '~'}{found.tokens:,}")
        shown.add_row(name, *cells, "" if found.share is None else f"{found.share:.1%}")
    console.print(shown)
    for name, found in sides.items():
        if found.step > 1:
            console.print(text(f"{name}: tokens measured on one row in {found.step}"))


def _print_lengths(sides: dict[str, Side], console: Console) -> None:
    """How long the rows are: in tokens where they were tokenised, else in words."""
    tokens = [length for found in sides.values() for length in found.lengths]
    lengths = tokens or [count for found in sides.values() for count in found.words]
    if not lengths:
        return
    facts = f"median {quantile(lengths, 0.5):,}, 95 % up to {quantile(lengths, 0.95):,}"
    unit = "tokens" if tokens else "words"
    console.print(text(f"row length in {unit}: {facts}, longest {max(lengths):,}"))
    blocks = console.is_terminal and speaks_unicode(console)
    for line in Histogram.of(lengths).lines(blocks=blocks):
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print()


def _print_estimate(
    plan: Plan, path: Path, sides: dict[str, Side], ledger: dict[str, Any], console: Console
) -> None:
    """Hours and price; tokens are those measured, else the ledger's by the share of words."""
    tokens = sides["train"].tokens
    if not tokens:
        in_all = sum((ledger.get("tokens") or {}).values())
        words = {name: sum(found.words) for name, found in sides.items()}
        tokens = round(in_all * words["train"] / max(sum(words.values()), 1))
    billions = plan.billions or _billions(made_for.read(path))
    for line in plan.lines(tokens, billions):
        console.print(text(line), soft_wrap=True)


def _billions(made: MadeFor) -> float:
    if made.billions is None:
        raise UserError(
            f"--card: the name of the base model, {made.base}, does not tell its size: add "
            "--billions N, its parameters in billions."
        )
    return made.billions


def _print_rows(
    sides: dict[str, Side], limit: int, how: str, encoder: Encoder | None, console: Console
) -> None:
    shown = [
        (f"{name} row {number}", row)
        for name in SIDES
        for number, row in enumerate(sides[name].examples, 1)
    ]
    if shown and limit:
        console.print()
        key = "green is learned, dim is only read" if console.is_terminal else "marked"
        console.print(text(f"rows {how}, {key}:"))
    for head, row in shown[:limit]:
        spans = None if encoder is None else span.of(row.messages, encoder)
        row_view.show(head, row, spans, console)
