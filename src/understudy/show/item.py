"""One item of a corpus: who says what, turn by turn, and as which role."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from understudy.config.voices import VoicesConfig
from understudy.console import UserError
from understudy.records import turns, voices
from understudy.records.item import Item
from understudy.records.turns import Turn
from understudy.records.voices import KnownVoice, Role
from understudy.show.screen import clock, text

DEFAULT_TURNS = 10
STYLES = {"host": "cyan", "guest": "green", "guest by source.json": "green"}


def fits(path: Path) -> bool:
    """Whether the folder is one item of a corpus, with a transcript."""
    return Item(path).transcript_file.is_file() and Item(path).source_file.is_file()


def show(path: Path, console: Console, limit: int) -> None:
    """Print the first `limit` turns of an item with speaker and role.

    Raises:
        UserError: transcript, voices, source or register cannot be read.
    """
    item = Item(path)
    try:
        register = voices.read_register(path.parent / "speakers.json")
    except ValueError as error:
        raise UserError(str(error)) from None
    print_turns(item, register, console, limit)


def print_turns(item: Item, register: list[KnownVoice], console: Console, limit: int) -> None:
    """Print the first `limit` turns: time, speaker, role, words, and what was said.

    Raises:
        UserError: transcript, voices or source cannot be read.
    """
    try:
        spoken = turns.read_turns(item, register, VoicesConfig())
        guest = item.source().guest
    except ValueError as error:
        raise UserError(str(error)) from None
    console.print()
    head = f"{item.name}: {min(limit, len(spoken)):,} of {len(spoken):,} turns"
    console.print(text(head, "bold"), soft_wrap=True)
    for turn in spoken[:limit]:
        role = role_of(turn, guest)
        facts = f"{role or 'no role'}, {turn.words:,} words"
        said = f"{clock(turn.start)} {turn.speaker or 'nobody'} ({facts}): {turn.text}"
        console.print(text(said, STYLES.get(role or "", "dim")), soft_wrap=True)


def role_of(turn: Turn, guest: str | None) -> str | None:
    """`host`, `guest` or `other` by the register, else the guest whom the source names; or None."""
    if turn.role is not None:
        return turn.role.value
    if guest is not None and turn.speaker == guest:
        return f"{Role.guest.value} by source.json"
    return None
