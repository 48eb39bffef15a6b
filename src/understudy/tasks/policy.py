"""Policies: what the podcast task does with everybody and everything that is no plain talk."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from understudy.config.limits import within
from understudy.config.task import TaskConfig


class Voice(Enum):
    """What becomes of a voice that is neither host nor guest."""

    drop = "drop"
    """Left out."""
    context = "context"
    """Read on the user's side, not learned. Where a template lets no role speak twice, the user's
    words beside it are then not learned either."""
    join = "join"
    """Taken for a slip of the diarizer: the words go to the voice before."""


class Aside(Enum):
    """What becomes of back-channels, overlaps and advertising."""

    keep = "keep"
    """Learned like the rest."""
    context = "context"
    """Read, not learned."""
    drop = "drop"
    """Left out."""


BACK_CHANNELS = (
    "ah absolutely exactly hm hmm huh i-see mhm mm mm-hm mm-hmm mmm oh oh-wow ok okay right sure "
    "uh-huh wow ya yeah yep yes"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PodcastConfig(TaskConfig):
    """Who is learned, and what becomes of everybody and everything else."""

    train_host: bool = True
    """Train the host's turns, end tokens included."""
    train_guest: bool = True
    """Train the guest's turns, end tokens included."""
    swap_roles: bool = False
    """The host is the assistant and the guest the user; the guest then speaks first."""
    swapped_items: list[str] = field(default_factory=list)
    """Items in which the guest was taken for the host and the host for the guest."""
    cut: dict[str, Any] = field(default_factory=dict)
    """What of an item is used, in seconds: `{item: [start, end]}`; it goes before `start_seconds`
    and `end_seconds` of its `source.json`. null as end: to the last word. A new
    key takes a plus on the command line: `+task.cut={episode-1:[42,1800]}`."""
    cut_chapters: list[str] = field(default_factory=list)
    """Words in a chapter's title that mark it as left out: `[intro, outro]`."""
    other_voices: Voice = Voice.drop
    """A third voice: drop, context or join."""
    minor_voices: Voice = Voice.drop
    """A voice with less than `minor_share` of the words: drop, context or join."""
    minor_share: float = 0.01
    """Share of an item's words under which a voice is a minor one."""
    max_voices: int | None = None
    """Refuse an item with more voices than this (minor ones not counted); null for no limit."""
    back_channels: Aside = Aside.drop
    """`mm-hm` inside the other's turn: drop (what it parted is joined), context or keep. A model
    that learns them answers with one word."""
    back_channel_words: int = 3
    """Longest turn that can be a back-channel, in words."""
    back_channel_list: list[str] = field(default_factory=BACK_CHANNELS.split)
    """Words that make one, `-` also standing for a space. A turn that is not made of these is one
    only if it is spoken over the other's; after a question none is one."""
    overlaps: Aside = Aside.keep
    """A segment that begins while the other still speaks: keep, context or drop."""
    overlap_seconds: float = 0.5
    """How much earlier it must begin to be an overlap."""
    ads: Aside = Aside.context
    """Chapters of advertising: keep, context or drop. A model that learns them says them word for
    word; as context nothing is lost and nothing learned."""
    ad_words: list[str] = field(
        default_factory="ad ads advert advertisement advertising promo sponsor sponsors".split
    )
    """Words in a chapter's title that mark it as advertising."""
    biography: bool = True
    """Put `guest_biography` of `source.json`, where there is one, into the system message."""
    biography_words: int = 100
    """Longest biography, in words; a longer one ends after a whole sentence."""

    def __post_init__(self) -> None:
        if not (self.train_host or self.train_guest):
            raise ValueError(
                "task.train_host=false and task.train_guest=false leave nothing to learn: "
                "set one of them to true."
            )
        within("task.minor_share", self.minor_share, 0, 0.5)
        within("task.max_voices", self.max_voices, 2, 1000)
        within("task.back_channel_words", self.back_channel_words, 0, 20, unit="words")
        within("task.overlap_seconds", self.overlap_seconds, 0, 3600, unit="seconds")
        within("task.biography_words", self.biography_words, 1, 10_000, unit="words")
        for item, times in self.cut.items():
            if not _is_stretch(times):
                raise ValueError(
                    f"task.cut.{item}={times} is no stretch of time: give [start, end] in seconds, "
                    "the end after the start, or null as end."
                )


def _is_stretch(times: object) -> bool:
    match times:
        case [int() | float() as start, int() | float() as end]:
            return 0 <= start < end
        case [int() | float() as start, None]:
            return start >= 0
    return False
