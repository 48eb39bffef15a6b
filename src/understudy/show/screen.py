"""Where `show` prints: the terminal in colour, anything else as plain text."""

from __future__ import annotations

import io
import sys
import unicodedata

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.collect.names import one_line

PLAIN_WIDTH = 240
"""Characters of a line where there is no terminal to ask."""
JOINERS = "\u200c\u200d"
"""Invisible characters that belong to words and emoji, and steer nothing else."""


def stdout() -> Console:
    """The console for a tool's output; a new one each time, so that a redirection is honoured."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Data may hold any character; one that this output cannot write must not end the tool.
        sys.stdout.reconfigure(errors="backslashreplace")
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(file=sys.stdout, highlight=False, width=width)


def speaks_unicode(console: Console) -> bool:
    """Whether what the console writes may hold characters beyond ASCII."""
    return console.encoding.lower().startswith("utf")


def text(value: object, style: str = "") -> Text:
    """A value from outside on one line: no markup, no control characters."""
    return Text("" if value is None else one_line(str(value)), style=style)


def verbatim(value: str) -> str:
    """A text with nothing taken away: line breaks stay, other invisible characters are escaped."""
    return "".join(_escaped(character) for character in value)


def _escaped(character: str) -> str:
    if character == "\n" or character in JOINERS:
        return character
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def table(*columns: str, title: str | None = None) -> Table:
    """A table whose columns are left-aligned, those that start with `#` right-aligned."""
    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        right = column.startswith("#")
        made.add_column(
            column.removeprefix("#"), justify="right" if right else "left", overflow="fold"
        )
    return made


def clock(seconds: float | None) -> str:
    """`1:02:05` or `2:05`; empty where the time is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
