"""What a text spells out that only the template may write: kept text by rule, and counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence


class Neutraliser:
    """Keeps control tokens and template markers in a text from being taken for the template's.

    A control token that is spelled out is tokenised as the text it is. A marker that is plain text
    in the template too (`[INST]` in Mistral's first version) has the template's very ids, so a
    space goes into it: `[ INST]`.
    """

    def __init__(
        self, specials: Sequence[str], markers: Mapping[str, str], counts: Counter[str]
    ) -> None:
        self.counts = counts
        self.markers = [(re.compile(pattern), to) for pattern, to in markers.items()]
        longest_first = sorted(specials, key=len, reverse=True)
        self.specials = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self.signs = tuple({special[0] for special in specials})

    def __call__(self, text: str) -> str:
        """The text as it may be written."""
        for pattern, written in self.markers:
            if pattern.search(text):
                self.counts.update(match.group() for match in pattern.finditer(text))
                text = pattern.sub(written, text)
        if any(sign in text for sign in self.signs):
            self.counts.update(self.specials.findall(text))
        return text
