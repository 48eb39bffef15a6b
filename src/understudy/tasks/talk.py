"""Talk: what two sides say in turn, made of segments; every word left out is counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from understudy.tasks.policy import Aside, PodcastConfig

OVERLAP = "spoken over the other"
BACK_CHANNEL = "a back-channel"
BEFORE_HOST = "before the host's first turn"
BEFORE_GUEST = "before the guest's first turn, as the roles are swapped"


@dataclass(slots=True)
class Account:
    """What was left out, and what was done."""

    asked: Counter[str] = field(default_factory=Counter)
    unasked: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Heard:
    """What one side says until the other does, growing as segments are joined to it."""

    role: str
    weight: int
    texts: list[str]
    start: float | None
    end: float | None

    @property
    def text(self) -> str:
        """Everything said."""
        return " ".join(self.texts)

    @property
    def words(self) -> int:
        """Whitespace-separated words."""
        return sum(len(text.split()) for text in self.texts)


def overlaps(segments: Iterator[Heard], config: PodcastConfig, account: Account) -> Iterator[Heard]:
    """The segments, those that begin while the other still speaks by their policy."""
    ends = {"user": 0.0, "assistant": 0.0}
    for segment in segments:
        other = ends["assistant" if segment.role == "user" else "user"]
        over = segment.start is not None and segment.start < other - config.overlap_seconds
        if segment.end is not None:
            ends[segment.role] = max(ends[segment.role], segment.end)
        if over and config.overlaps is Aside.drop:
            account.asked[OVERLAP] += segment.words
            continue
        if over:
            account.notes[f"overlaps: {config.overlaps.name}"] += 1
            segment.weight *= int(config.overlaps is Aside.keep)
        yield segment


def joined(segments: Iterator[Heard], account: Account) -> list[Heard]:
    """Neighbours of one role and one weight become one turn."""
    turns: list[Heard] = []
    for segment in segments:
        _join(turns, segment, account)
    return turns


def _join(turns: list[Heard], one: Heard, account: Account) -> None:
    if turns and (turns[-1].role, turns[-1].weight) == (one.role, one.weight):
        turns[-1].texts += one.texts
        turns[-1].end = one.end if one.end is not None else turns[-1].end
        account.notes["segments joined to the turn before"] += 1
    else:
        turns.append(one)


def back_channels(turns: list[Heard], config: PodcastConfig, account: Account) -> list[Heard]:
    """The turns without back-channels, or with them by their policy; the rest is joined anew."""
    listed = {word.casefold() for word in config.back_channel_list}
    kept: list[Heard] = []
    for place, turn in enumerate(turns):
        after = turns[place + 1] if place + 1 < len(turns) else None
        if not (kept and after and _is_back_channel(turn, kept[-1], after, listed, config)):
            _join(kept, turn, account)
        elif config.back_channels is Aside.drop:
            account.asked[BACK_CHANNEL] += turn.words
        else:
            account.notes[f"back-channels: {config.back_channels.name}"] += 1
            turn.weight *= int(config.back_channels is Aside.keep)
            kept.append(turn)
    return kept


def _is_back_channel(
    turn: Heard, before: Heard, after: Heard, listed: set[str], config: PodcastConfig
) -> bool:
    """Short, inside the other's turn, no answer to a question; and listed, or spoken over it."""
    if not before.role == after.role != turn.role or turn.words > config.back_channel_words:
        return False
    if before.texts[-1].rstrip("\"' ").endswith("?"):
        return False
    words = re.findall(r"[\w'-]+", turn.text.casefold())
    if words and ("-".join(words) in listed or all(word in listed for word in words)):
        return True
    return turn.end is not None and (
        (before.end is not None and turn.end <= before.end)
        or (after.start is not None and after.start < turn.end)
    )


def opened(turns: list[Heard], config: PodcastConfig, account: Account) -> list[Heard]:
    """The talk from the user's first turn on."""
    first = next((i for i, turn in enumerate(turns) if turn.role == "user"), len(turns))
    lost = sum(turn.words for turn in turns[:first])
    if lost and config.swap_roles:
        account.asked[BEFORE_GUEST] += lost
    elif lost:
        account.unasked[BEFORE_HOST] += lost
    return turns[first:]
