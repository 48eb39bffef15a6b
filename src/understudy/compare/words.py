"""What counts as a word when texts are measured."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+(?:['’]\w+)*")  # noqa: RUF001  # the typographic apostrophe of real text


def words(text: str) -> list[str]:
    """Runs of letters and digits, apostrophes inside kept, case folded; no punctuation."""
    return [match.group().casefold() for match in _WORD.finditer(text)]
