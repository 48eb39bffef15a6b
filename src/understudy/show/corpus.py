"""A corpus: its items, how far each is, and why one failed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from understudy.config.voices import VoicesConfig
from understudy.console import UserError, progress
from understudy.records import transcript, turns, voices
from understudy.records.item import Item
from understudy.show import item as item_view
from understudy.show.screen import table, text

STAGES = ("collect", "transcribe")
"""The stages that work item by item."""
MANY_ITEMS = 100
"""From here on reading takes long enough to show how far it is."""


@dataclass(kw_only=True, slots=True)
class Look:
    """What is to be seen of one item."""

    item: Item
    title: str = ""
    guest: str | None = None
    seconds: float | None = None
    words: int | None = None
    speakers: Counter[str] = field(default_factory=Counter)
    """Words by speaker."""
    states: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    """What failed or cannot be read."""


def fits(path: Path) -> bool:
    """Whether the folder is a corpus: it has items, finished or failed."""
    return any(_items(path))


def _items(path: Path) -> list[Item]:
    found = [Item(folder) for folder in sorted(path.iterdir()) if folder.is_dir()]
    return [
        item
        for item in found
        if any(
            item.manifest_file(stage).exists() or item.failure_file(stage).exists()
            for stage in STAGES
        )
    ]


def show(path: Path, console: Console, turn_limit: int = 0) -> None:
    """Print a table of the items, what went wrong, and turns of the first that has a transcript.

    Args:
        path: The corpus.
        console: Where to.
        turn_limit: So many turns.

    Raises:
        UserError: `speakers.json` cannot be read.
    """
    items = _items(path)
    try:
        register = voices.read_register(path / "speakers.json")
    except ValueError as error:
        raise UserError(str(error)) from None
    if len(items) < MANY_ITEMS:
        looks = [look_at(item, register) for item in items]
    else:
        looks = []
        with progress("show", len(items), "items") as bar:
            for item in items:
                looks.append(look_at(item, register))
                bar.advance()
    _print(path, looks, [known.name for known in register], console)
    readable = next((look.item for look in looks if look.words is not None), None)
    if turn_limit and readable is not None:
        item_view.print_turns(readable, register, console, turn_limit)
        others = "another item" if len(looks) > 1 else "it"
        hint = f"understudy show {path / '<item>'} --rows N shows {others}"
        console.print(text(hint, "dim"), soft_wrap=True)


def look_at(item: Item, register: list[voices.KnownVoice]) -> Look:
    """Gather what the item's files say; what cannot be read is a reason, not the end."""
    look = Look(item=item)
    for stage in STAGES:
        look.states[stage] = _state(item, stage)
        failure = item.failure(stage)
        if failure is not None:
            look.reasons.append(f"{stage}: {failure}")
    if item.source_file.exists():
        try:
            source = item.source()
            look.title, look.guest = source.title, source.guest
        except ValueError as error:
            look.reasons.append(str(error))
    if item.transcript_file.exists():
        _read_transcript(look, register)
    look.seconds = _duration(item) or look.seconds
    return look


def _read_transcript(look: Look, register: list[voices.KnownVoice]) -> None:
    try:
        spoken = turns.read_turns(look.item, register, VoicesConfig())
        segments = transcript.read(look.item.transcript_file).segments
    except ValueError as error:
        look.reasons.append(str(error))
        return
    look.words = sum(turn.words for turn in spoken)
    for turn in spoken:
        look.speakers[turn.speaker or "nobody"] += turn.words
    look.seconds = max((segment.end for segment in segments if segment.end), default=None)


def _state(item: Item, stage: str) -> str:
    if item.failure_file(stage).exists():
        return "failed"
    if item.manifest_file(stage).exists():
        return "done"
    if stage == "transcribe" and item.transcript_file.exists():
        return "imported"
    return "-"


def _duration(item: Item) -> float | None:
    """Seconds, where the item's source told."""
    try:
        record = json.loads((item.folder / "info.json").read_text(encoding="utf-8"))
        return float(record["duration"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _print(path: Path, looks: list[Look], known: list[str], console: Console) -> None:
    columns = ("name", "title", "guest", "media", "#minutes", "#words", "speakers", *STAGES)
    shown = table(*columns)
    for look in looks:
        media = look.item.media_file
        minutes = "" if look.seconds is None else f"{look.seconds / 60:.1f}"
        words = "" if look.words is None else f"{look.words:,}"
        speakers = ", ".join(f"{name} {count:,}" for name, count in look.speakers.most_common())
        row = [look.item.name, look.title, look.guest, media.name if media else None]
        states = [text(state, _style(state)) for state in look.states.values()]
        shown.add_row(*map(text, [*row, minutes, words, speakers]), *states)
    console.print(shown)
    seconds = sum(look.seconds or 0 for look in looks)
    words_in_all = sum(look.words or 0 for look in looks)
    console.print(
        text(
            f"{path.name}: {len(looks):,} items, {seconds / 3600:.2f} hours known, "
            f"{words_in_all:,} words; known voices: {', '.join(known) or 'none'}"
        )
    )
    for look in looks:
        for reason in look.reasons:
            console.print(text(f"{look.item.name}: {reason}", "red"), soft_wrap=True)


def _style(state: str) -> str:
    return {"failed": "red", "-": "dim"}.get(state, "green")
