"""What a source offers: things that can become items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from understudy.records.item import Item

Note = Callable[[str], None]
"""Shows a short text beside the progress bar."""


class UnusableError(Exception):
    """A thing that cannot become an item; the message is the reason a person reads."""


class Found(Protocol):
    """One thing a source offers; `collect` makes it one item."""

    @property
    def label(self) -> str:
        """What a person knows it by: a file name, a title, an address."""

    def place(self, corpus: Path) -> Item:
        """The item it becomes, with its folder: the same one each time, and no other thing's."""

    def inputs(self, item: Item) -> dict[str, str]:
        """What identifies it, by name.

        Raises:
            UnusableError: it cannot become an item.
            OSError: it cannot be read.
        """

    def bring(self, item: Item, note: Note) -> list[Path]:
        """Put its files into the item's folder, `source.json` among them, and name them.

        Raises:
            UnusableError: it cannot become an item after all.
            OSError: disk or network fail.
        """
