"""Podcast: a host and a guest talk. The host is the user, the guest the assistant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from understudy.config.task import TaskConfig
from understudy.records.conversation import Conversation, Spoken
from understudy.records.item import Source
from understudy.records.rows import Message
from understudy.records.turns import Turn
from understudy.records.voices import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class PodcastConfig(TaskConfig):
    """Who is learned."""

    train_host: bool = True
    """Train the host's turns, end tokens included."""
    train_guest: bool = True
    """Train the guest's turns, end tokens included."""

    def __post_init__(self) -> None:
        if not (self.train_host or self.train_guest):
            raise ValueError(
                "task.train_host=false and task.train_guest=false leave nothing to learn: "
                "set one of them to true."
            )


CONFIG = PodcastConfig

OTHER_VOICE = "a voice that is neither host nor guest"
BEFORE_HOST = "before the host's first turn"


def conversation(turns: Sequence[Turn], source: Source, config: PodcastConfig) -> Conversation:
    """One episode as a talk that the host opens.

    Turns of other voices are left out and counted; what then stands side by side from one speaker
    is joined, never lost. What comes before the host's first turn is left out and counted.

    Args:
        turns: The episode's turns, in order, with names and roles.
        source: Tells the guest's name, where it is known.
        config: Whose turns are learned.

    Raises:
        ValueError: the host is not heard, or nobody else is; the message says so.
    """
    guest = guest_name(turns, source)
    dropped: Counter[str] = Counter()
    spoken: list[Spoken] = []
    for turn in turns:
        role = _role(turn, guest)
        if role is None:
            dropped[OTHER_VOICE] += turn.words
        elif role == "assistant" and not spoken:
            dropped[BEFORE_HOST] += turn.words
        elif spoken and spoken[-1].message.role == role:
            spoken[-1] = _joined(spoken[-1], turn)
        else:
            weight = int(config.train_host if role == "user" else config.train_guest)
            message = Message(role=role, content=turn.text, weight=weight)
            spoken.append(Spoken(message=message, start=turn.start, end=turn.end))
    host = next(turn.speaker for turn in turns if turn.role is Role.host)
    assert host is not None
    return Conversation(
        system=config.system,
        spoken=tuple(spoken),
        speakers={"user": host, "assistant": guest},
        dropped=dropped,
    )


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


def _role(turn: Turn, guest: str) -> str | None:
    if turn.role is Role.host:
        return "user"
    return "assistant" if turn.speaker == guest else None


def _joined(earlier: Spoken, turn: Turn) -> Spoken:
    content = f"{earlier.message.content} {turn.text}"
    return replace(earlier, message=replace(earlier.message, content=content), end=turn.end)
