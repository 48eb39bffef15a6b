"""Podcast: a host and a guest talk. The host is the user, the guest the assistant.

What becomes of a word is decided in this order, and counted at each step: cut by time, advertising,
voices that are neither host nor guest, overlaps, turns joined, back-channels, the opening.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from understudy.records.conversation import Conversation, Spoken
from understudy.records.item import Chapter, Item, Source
from understudy.records.rows import Message
from understudy.records.turns import Turn, read_segments
from understudy.records.voices import Role
from understudy.tasks import Reading
from understudy.tasks.policy import Aside, PodcastConfig, Voice
from understudy.tasks.talk import Account, Heard, back_channels, joined, opened, overlaps

CONFIG = PodcastConfig
ITEM_FILES = ("source.json", "transcript.json", "voices.npz")

BEFORE_CUT = "before the start set for the item"
AFTER_CUT = "after the end set for the item"
CUT_CHAPTER = "a chapter left out by its title"
AD = "advertising"
OTHER_VOICE = "a voice that is neither host nor guest"
MINOR_VOICE = "a voice with a small share of the words"
NO_VOICE = "a voice nobody was assigned to"


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is who in an item."""

    hosts: frozenset[str]
    guests: frozenset[str]
    minor: frozenset[str]
    """Voices with a small share, neither host nor guest."""
    names: dict[str, str]
    """By role: user and assistant."""


def from_item(item: Item, reading: Reading, config: PodcastConfig) -> Iterator[Conversation]:
    """One episode is one talk.

    Raises:
        ValueError: a file cannot be read, one of the two is not heard, or the config names an item
            that there is not.
    """
    _check_names(item, config)
    segments = read_segments(item, reading.register, reading.voices)
    yield conversation(segments, item.source(), config, item=item.name)


def _check_names(item: Item, config: PodcastConfig) -> None:
    """Refuse names of items that no corpus beside this one has: a typo would do nothing, unseen."""
    for key, names in (("cut", list(config.cut)), ("swapped_items", config.swapped_items)):
        for name in names:
            corpora = item.folder.parent.parent
            if not any((corpus / name).is_dir() for corpus in corpora.iterdir()):
                items = [found.name for found in item.folder.parent.iterdir()]
                near = difflib.get_close_matches(name, items, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise ValueError(f"task.{key} names {name}, but no item has this name.{hint}")


def conversation(
    segments: Sequence[Turn], source: Source, config: PodcastConfig, *, item: str = ""
) -> Conversation:
    """One episode as a talk that the user opens.

    Args:
        segments: The episode's segments or turns, in order, with names and roles.
        source: Tells guest, biography, chapters and where the show begins, where it knows.
        config: Whose turns are learned, and the policies for all others.
        item: The item's name, for what the config sets by item.

    Raises:
        ValueError: the host is not heard, or nobody else is, or there are too many voices.
    """
    account = Account()
    used = _cut(segments, _stretch(item, source, config), account)
    used = _cut_chapters(used, _titled(source.chapters, config.cut_chapters), account)
    who = _cast(used, source, config, swapped=item in config.swapped_items)
    if item in config.swapped_items:
        account.notes["items with the roles swapped"] += 1
    heard = overlaps(_heard(used, source, who, config, account), config, account)
    talk = opened(back_channels(joined(heard, account), config, account), config, account)
    return Conversation(
        system=_system(source, config, account),
        spoken=tuple(
            Spoken(
                message=Message(role=one.role, content=one.text, weight=one.weight),
                start=one.start,
                end=one.end,
            )
            for one in talk
        ),
        speakers=who.names,
        asked=account.asked,
        unasked=account.unasked,
        notes=account.notes,
        category=source.category,
        creator=source.creator,
        licence=source.licence,
    )


def _stretch(item: str, source: Source, config: PodcastConfig) -> tuple[float, float]:
    if item in config.cut:
        start, end = config.cut[item]
        return float(start), float("inf") if end is None else float(end)
    end_seconds = float("inf") if source.end_seconds is None else source.end_seconds
    return source.start_seconds or 0.0, end_seconds


def _middle(turn: Turn) -> float | None:
    return None if turn.start is None or turn.end is None else (turn.start + turn.end) / 2


def _cut(
    segments: Sequence[Turn], stretch: tuple[float, float], account: Account
) -> Sequence[Turn]:
    """Leave out intro and outro; a segment lies where its middle does, one without times stays."""
    if stretch == (0.0, float("inf")):
        return segments
    used = []
    for segment in segments:
        middle = _middle(segment)
        if middle is None:
            account.notes["segments without times, kept where the item is cut"] += 1
        if middle is not None and middle < stretch[0]:
            account.asked[BEFORE_CUT] += segment.words
        elif middle is not None and middle > stretch[1]:
            account.asked[AFTER_CUT] += segment.words
        else:
            used.append(segment)
    return used


def _cut_chapters(
    segments: Sequence[Turn], chapters: Sequence[Chapter], account: Account
) -> Sequence[Turn]:
    used = [segment for segment in segments if not _within(segment, chapters)]
    if lost := sum(s.words for s in segments) - sum(s.words for s in used):
        account.asked[CUT_CHAPTER] += lost
    return used


def _cast(
    segments: Sequence[Turn], source: Source, config: PodcastConfig, *, swapped: bool
) -> Cast:
    guest = guest_name(segments, source)
    hosts = frozenset(t.speaker for t in segments if t.role is Role.host and t.speaker)
    host = next(t.speaker for t in segments if t.role is Role.host and t.speaker)
    guests = frozenset((guest,))
    words: Counter[str] = Counter()
    for segment in segments:
        words[segment.speaker or ""] += segment.words
    least = config.minor_share * words.total()
    minor = frozenset(name for name, count in words.items() if count < least) - hosts - guests
    voices = set(words) - minor - {""}
    if config.max_voices is not None and len(voices) > config.max_voices:
        raise ValueError(
            f"{len(voices)} voices ({', '.join(sorted(voices))}), more than "
            f"task.max_voices={config.max_voices}"
        )
    if swapped:
        hosts, guests, host, guest = guests, hosts, guest, host
    user, assistant = (guest, host) if config.swap_roles else (host, guest)
    return Cast(hosts, guests, minor, {"user": user, "assistant": assistant})


def guest_name(turns: Sequence[Turn], source: Source) -> str:
    """Who the guest is: by register, by `source.json`, else whoever talks most beside the host.

    Raises:
        ValueError: the host is not heard, or nobody else is.
    """
    if not any(turn.role is Role.host for turn in turns):
        voices = ", ".join(sorted({turn.speaker or "unknown" for turn in turns})) or "nobody"
        raise ValueError(
            f"the host is not heard (voices: {voices}): add the host to speakers.json, or lower "
            "voices.threshold"
        )
    words: Counter[str] = Counter()
    for turn in turns:
        if turn.role in (None, Role.guest) and turn.speaker:
            words[turn.speaker] += turn.words
    if not words:
        raise ValueError("only the host is heard: there is no guest to learn from")
    registered = [t.speaker for t in turns if t.role is Role.guest and t.speaker]
    if registered:
        return max(set(registered), key=lambda name: (words[name], name))
    if source.guest is not None and source.guest in words:
        return source.guest
    return max(words, key=lambda name: (words[name], name))


def _heard(
    segments: Sequence[Turn],
    source: Source,
    who: Cast,
    config: PodcastConfig,
    account: Account,
) -> Iterator[Heard]:
    """Segments with role and weight; advertising and other voices by their policies."""
    ads = _titled(source.chapters, config.ad_words)
    before: Heard | None = None
    for segment in segments:
        told = _told(segment, who, config)
        policy = told if isinstance(told, Voice) else None
        reason = MINOR_VOICE if segment.speaker in who.minor else OTHER_VOICE
        if _within(segment, ads) and not _ad_stays(segment, config, account):
            continue
        if segment.speaker is None:
            account.unasked[NO_VOICE] += segment.words
        elif policy is Voice.drop or (policy is Voice.join and before is None):
            account.asked[reason] += segment.words
        else:
            one = _one(segment, told, before, config)
            if policy is not None:
                account.notes[f"{reason}: {policy.name}"] += 1
            if _within(segment, ads) and config.ads is Aside.context:
                one.weight = 0
            before = one
            yield one


def _told(segment: Turn, who: Cast, config: PodcastConfig) -> str | Voice:
    """`host`, `guest`, or the policy for a voice that is neither."""
    if segment.speaker in who.hosts:
        return "host"
    if segment.speaker in who.guests:
        return "guest"
    return config.minor_voices if segment.speaker in who.minor else config.other_voices


def _one(segment: Turn, told: str | Voice, before: Heard | None, config: PodcastConfig) -> Heard:
    if told is Voice.join:
        assert before is not None
        role, weight = before.role, before.weight
    elif told is Voice.context:
        role, weight = "user", 0
    else:
        role = "user" if (told == "host") is not config.swap_roles else "assistant"
        weight = int(config.train_host if told == "host" else config.train_guest)
    return Heard(role, weight, [segment.text], segment.start, segment.end)


def _titled(chapters: Sequence[Chapter], words: Sequence[str]) -> list[Chapter]:
    """The chapters with one of these words in their title."""
    marks = {word.casefold() for word in words}
    return [c for c in chapters if marks & set(re.findall(r"\w+", c.title.casefold()))]


def _within(segment: Turn, chapters: Sequence[Chapter]) -> bool:
    middle = _middle(segment) if chapters else None
    return middle is not None and any(
        chapter.start_seconds <= middle < chapter.end_seconds for chapter in chapters
    )


def _ad_stays(segment: Turn, config: PodcastConfig, account: Account) -> bool:
    if config.ads is Aside.drop:
        account.asked[AD] += segment.words
        return False
    account.notes[f"segments of advertising: {config.ads.name}"] += 1
    return True


def _system(source: Source, config: PodcastConfig, account: Account) -> str | None:
    about = source.guest_biography if config.biography else None
    parts = [config.system, _short(about, config.biography_words, account) if about else None]
    return "\n\n".join(part for part in parts if part) or None


def _short(text: str, words: int, account: Account) -> str:
    """Whole sentences up to a number of words; the first one at least."""
    taken: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", text.strip()):
        if taken and len(" ".join([*taken, sentence]).split()) > words:
            account.notes["biographies shortened"] += 1
            break
        taken.append(sentence)
    return " ".join(taken)
