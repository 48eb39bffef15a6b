"""Which words of a text differ from the base model's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from itertools import groupby

SHORTEST_SHARED = 2
"""Words that two texts have to share in a row, between changes, to count as the same."""
_PIECE = re.compile(r"\S+\s*|\s+")


class Change(Enum):
    """What became of a stretch of text."""

    same = "same"
    added = "added"
    gone = "gone"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text with one fate."""

    change: Change
    text: str


def difference(base: str, text: str) -> list[Segment]:
    """The way from `base` to `text`, word by word.

    Segments that are the same or added spell out `text`, exactly. Those that are the same or gone
    spell out `base` but for white space, in which words may differ unmarked. A single word in
    common between two changes counts as changed too: it is chance, and would break up the reading.
    """
    old, new = _PIECE.findall(base), _PIECE.findall(text)
    segments: list[Segment] = []
    for same, old_part, new_part in _stretches(old, new):
        if same:
            segments.append(Segment(Change.same, "".join(new_part)))
            continue
        if old_part:
            # The new text may end where the old one went on: its last word has no space behind it.
            gap = " " if segments and not segments[-1].text[-1].isspace() else ""
            segments.append(Segment(Change.gone, gap + "".join(old_part)))
        if new_part:
            segments.append(Segment(Change.added, "".join(new_part)))
    return segments


def _stretches(
    old: Sequence[str], new: Sequence[str]
) -> Iterator[tuple[bool, Sequence[str], Sequence[str]]]:
    """Alternately what is the same and what is changed: same, old pieces, new pieces."""
    matcher = SequenceMatcher(None, [p.strip() for p in old], [p.strip() for p in new])
    codes = matcher.get_opcodes()
    inner = range(1, len(codes) - 1)
    kinds = (
        tag == "equal" and not (place in inner and old_end - old_start < SHORTEST_SHARED)
        for place, (tag, old_start, old_end, _, _) in enumerate(codes)
    )
    for same, group in groupby(zip(kinds, codes, strict=True), key=lambda pair: pair[0]):
        parts = [code for _, code in group]
        yield same, old[parts[0][1] : parts[-1][2]], new[parts[0][3] : parts[-1][4]]


def whole(text: str) -> list[Segment]:
    """A text with nothing to compare it with."""
    return [Segment(Change.same, text)]
