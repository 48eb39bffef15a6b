"""Speech that nobody wrote down: found by comparing words with voices, and heard once more.

Whisper now and then begins a 30 s chunk in its middle and leaves out what came before. The voices
are found by another model, so a voice without words is a sign of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from understudy.records.transcript import Word
from understudy.transcribe.asr import Recogniser
from understudy.transcribe.assign import Stretch
from understudy.transcribe.audio import SAMPLE_RATE, Samples

SHORTEST_SECONDS = 2.0
"""A shorter voice without words may be a laugh or a breath."""
MARGIN_SECONDS = 0.2
"""Audio around a gap that is heard with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """Words, those of the gaps among them."""

    words: tuple[Word, ...]
    found: int
    """Words that the second hearing added."""
    silent_seconds: float
    """Voices that stayed without words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """A voice without words."""

    start: float
    """Seconds."""
    end: float
    before: int
    """Index of the word that follows it."""


def fill(
    words: Sequence[Word],
    stretches: Sequence[Stretch],
    samples: Samples,
    recogniser: Recogniser,
) -> Filled:
    """Hear every gap once more, by itself, and put what is found between the other words."""
    filled = list(words)
    silent = 0.0
    for gap in reversed(gaps(words, stretches)):
        again = _hear(gap, samples, recogniser)
        filled[gap.before : gap.before] = again
        silent += 0.0 if again else gap.end - gap.start
    return Filled(words=tuple(filled), found=len(filled) - len(words), silent_seconds=silent)


def gaps(words: Sequence[Word], stretches: Sequence[Stretch]) -> list[Gap]:
    """Where somebody speaks for SHORTEST_SECONDS or more between two words.

    Args:
        words: In order; those without times are passed over.
        stretches: In order and without overlap.
    """
    found = []
    reached = 0.0
    timed = [(i, w.start, w.end) for i, w in enumerate(words) if w.start is not None]
    end = max((stretch.end for stretch in stretches), default=0.0)
    for index, word_start, word_end in (*timed, (len(words), end, end)):
        spoken = list(_between(reached, word_start, stretches))
        if sum(stop - start for start, stop in spoken) >= SHORTEST_SECONDS:
            found.append(Gap(start=spoken[0][0], end=spoken[-1][1], before=index))
        reached = max(reached, word_start if word_end is None else word_end)
    return found


def _between(
    start: float, end: float, stretches: Sequence[Stretch]
) -> Iterator[tuple[float, float]]:
    index = bisect_right(stretches, start, key=lambda stretch: stretch.end)
    for stretch in islice(stretches, index, None):
        if stretch.start >= end:
            return
        yield max(start, stretch.start), min(end, stretch.end)


def _hear(gap: Gap, samples: Samples, recogniser: Recogniser) -> list[Word]:
    """The words of a gap, with times in the whole recording."""
    offset = max(gap.start - MARGIN_SECONDS, 0.0)
    piece = samples[int(offset * SAMPLE_RATE) : int((gap.end + MARGIN_SECONDS) * SAMPLE_RATE)]
    found = []
    for word in recogniser.hear(piece, lambda _: None).words:
        if word.start is None or word.end is None:
            continue
        moved = replace(word, start=round(word.start + offset, 3), end=round(word.end + offset, 3))
        middle = offset + (word.start + word.end) / 2
        if gap.start <= middle <= gap.end:
            found.append(moved)
    return found
