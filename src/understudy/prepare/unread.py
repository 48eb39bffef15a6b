"""Fields of a row that nothing reads: shown, so that a misspelt one is not lost in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NOTE = "rows with a field that nothing reads"
SHOWN_CHARACTERS = 40


class Watched(dict[str, Any]):
    """A row that remembers which of its fields were asked for, its messages' included."""

    def __init__(self, record: dict[str, Any]) -> None:
        super().__init__(record)
        self._asked: set[object] = set()
        messages = record.get("messages")
        if isinstance(messages, list):
            self["messages"] = [Watched(m) if isinstance(m, dict) else m for m in messages]

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # any JSON value
        self._asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._asked.add(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """The field's value, or the default."""
        self._asked.add(name)
        return super().get(name, default)

    def unread(self) -> Iterator[str]:
        """Names of the fields that were never asked for; `messages.<name>` inside a message."""
        for name, value in self.items():
            if name not in self._asked:
                yield name[:SHOWN_CHARACTERS]
            elif name == "messages" and isinstance(value, list):
                inner = {n: None for m in value if isinstance(m, Watched) for n in m.unread()}
                yield from (f"messages.{field}" for field in inner)
