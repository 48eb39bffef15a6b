"""Words to speakers: by overlap in time, and no word is ever lost."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from understudy.records.transcript import Segment, Word

SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*$")  # noqa: RUF001  # all scripts

FLICKER_SECONDS = 0.4
"""A change of speaker inside a sentence that is over so soon did not happen."""
SHORTEST_CAP_SECONDS = 1.0
SECONDS_PER_CHARACTER = 0.12
"""Slow, clear speech; a word that takes longer was stretched over a silence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A stretch of time in which one voice speaks."""

    start: float
    """Seconds."""
    end: float
    speaker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Assigned:
    """Words with speakers, and how many of them needed help."""

    words: tuple[Word, ...]
    nearest: int
    """Words outside every stretch: given to the nearest one."""
    untimed: int
    """Words without times: given to the speaker of the word before them, or after."""
    steadied: int
    """Words of a flicker inside a sentence: given to the sentence's speaker."""


def assign(words: Sequence[Word], stretches: Sequence[Stretch]) -> Assigned:
    """Give each word the speaker it overlaps most.

    Args:
        words: In order of speech; times may be missing.
        stretches: In order and without overlap; none at all leaves every speaker None.
    """
    speakers: list[str | None] = []
    nearest = 0
    for word in words:
        speaker, overlaps = _speaker(word, stretches)
        speakers.append(speaker)
        nearest += speaker is not None and not overlaps
    untimed = sum(speaker is None for speaker in speakers) if stretches else 0
    filled = _inherit(speakers)
    spoken = [replace(word, speaker=s) for word, s in zip(words, filled, strict=True)]
    steady = [word for sentence in sentences(spoken) for word in _steady(sentence)]
    steadied = sum(old.speaker != new.speaker for old, new in zip(spoken, steady, strict=True))
    return Assigned(words=tuple(steady), nearest=nearest, untimed=untimed, steadied=steadied)


def cap_all(words: Sequence[Word]) -> tuple[tuple[Word, ...], int]:
    """Shorten words that were stretched over a silence; with them, how many they are."""
    capped = tuple(cap(word, before) for before, word in zip((None, *words), words, strict=False))
    return capped, sum(old is not new for old, new in zip(words, capped, strict=True))


def cap(word: Word, before: Word | None) -> Word:
    """The word itself, or a shorter one where it was stretched over a silence.

    The silence lies before a word that opens a sentence and after any other.
    """
    if word.start is None or word.end is None:
        return word
    longest = max(SHORTEST_CAP_SECONDS, SECONDS_PER_CHARACTER * len(word.word))
    if word.end - word.start <= longest:
        return word
    opens = before is None or ends_sentence(before)
    if opens and not ends_sentence(word):
        return replace(word, start=round(word.end - longest, 3))
    return replace(word, end=round(word.start + longest, 3))


def ends_sentence(word: Word) -> bool:
    """Whether a sentence ends with this word."""
    return SENTENCE_END.search(word.word) is not None


def _speaker(word: Word, stretches: Sequence[Stretch]) -> tuple[str | None, bool]:
    """Who says a word, and whether any stretch overlaps it; (None, False) if it has no times."""
    if word.start is None or word.end is None or not stretches:
        return None, False
    index = bisect_right(stretches, word.start, key=lambda stretch: stretch.end)
    overlaps: defaultdict[str, float] = defaultdict(float)
    for stretch in stretches[index:]:
        if stretch.start >= word.end:
            break
        overlaps[stretch.speaker] += min(word.end, stretch.end) - max(word.start, stretch.start)
    if overlaps:
        return max(overlaps, key=lambda speaker: overlaps[speaker]), True
    around = stretches[max(index - 1, 0) : index + 1]
    return min(around, key=lambda stretch: _distance(word, stretch)).speaker, False


def _distance(word: Word, stretch: Stretch) -> float:
    assert word.start is not None
    assert word.end is not None
    return max(stretch.start - word.end, word.start - stretch.end, 0.0)


def _inherit(speakers: list[str | None]) -> list[str | None]:
    filled: list[str | None] = []
    following = next((speaker for speaker in speakers if speaker is not None), None)
    for speaker in speakers:
        following = speaker if speaker is not None else following
        filled.append(following)
    return filled


def sentences(words: Iterable[Word]) -> list[list[Word]]:
    """Words up to and with each that ends a sentence."""
    found: list[list[Word]] = [[]]
    for word in words:
        found[-1].append(word)
        if ends_sentence(word):
            found.append([])
    return [sentence for sentence in found if sentence]


def _steady(sentence: list[Word]) -> list[Word]:
    """A sentence without flickers: runs by another speaker that last FLICKER_SECONDS or less."""
    runs = [list(run) for _, run in groupby(sentence, key=lambda word: word.speaker)]
    main = max(runs, key=lambda run: _span([], run, []))[0].speaker
    if len(runs) == 1 or main is None:
        return sentence
    steady = []
    for before, run, after in zip([[], *runs], runs, [*runs[1:], []], strict=False):
        flickers = _span(before, run, after) <= FLICKER_SECONDS
        steady += [replace(word, speaker=main) for word in run] if flickers else run
    return steady


def _span(before: list[Word], run: list[Word], after: list[Word]) -> float:
    """Seconds from the words before a run to those after it; without them, its own length."""
    starts = [word.end for word in before] or [word.start for word in run]
    ends = [word.start for word in after] or [word.end for word in run]
    known = [time for time in starts if time is not None], [t for t in ends if t is not None]
    if not known[0] or not known[1]:
        return 0.0
    first = max(known[0]) if before else min(known[0])
    last = min(known[1]) if after else max(known[1])
    return last - first


def segments(words: Iterable[Word], separator: str) -> tuple[Segment, ...]:
    """Runs of words by one speaker, cut where sentences end.

    Args:
        words: With speakers, in order.
        separator: What stands between two words in writing.
    """
    runs: list[list[Word]] = []
    for word in words:
        last = runs[-1][-1] if runs else None
        if last is None or last.speaker != word.speaker or ends_sentence(last):
            runs.append([])
        runs[-1].append(word)
    return tuple(_segment(run, separator) for run in runs)


def _segment(run: list[Word], separator: str) -> Segment:
    starts = [word.start for word in run if word.start is not None]
    ends = [word.end for word in run if word.end is not None]
    return Segment(
        text=separator.join(word.word for word in run),
        start=min(starts, default=None),
        end=max(ends, default=None),
        speaker=run[0].speaker,
        words=tuple(run),
    )


def turns(parts: Iterable[Segment]) -> list[Stretch]:
    """Runs of segments by one speaker as stretches of time; those without either are left out."""
    found = []
    for speaker, run in groupby(parts, key=lambda segment: segment.speaker):
        timed = [part for part in run if part.start is not None and part.end is not None]
        if speaker is None or not timed:
            continue
        start = min(part.start for part in timed if part.start is not None)
        end = max(part.end for part in timed if part.end is not None)
        found.append(Stretch(start=start, end=end, speaker=speaker))
    return found
