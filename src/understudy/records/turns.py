"""Turns: a transcript as it is read, names resolved, consecutive segments of one voice joined."""

from __future__ import annotations

from dataclasses import dataclass, replace

from understudy.config.voices import VoicesConfig
from understudy.records import transcript as transcripts
from understudy.records import voices
from understudy.records.item import Item
from understudy.records.voices import KnownVoice, Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One voice speaking until another does."""

    speaker: str | None
    """Name, or the anonymous label where nobody is recognised; None where nobody was assigned."""
    role: Role | None
    text: str
    start: float | None
    """Seconds."""
    end: float | None

    @property
    def words(self) -> int:
        """Whitespace-separated words: what the ledger counts."""
        return len(self.text.split())


def read_turns(item: Item, register: list[KnownVoice], config: VoicesConfig) -> list[Turn]:
    """An item's transcript as turns: consecutive segments of one voice joined.

    Raises:
        ValueError: transcript or voices cannot be read; the message names the file.
    """
    turns: list[Turn] = []
    for turn in read_segments(item, register, config):
        if turns and turns[-1].speaker == turn.speaker:
            text = f"{turns[-1].text} {turn.text}"
            turns[-1] = replace(turns[-1], text=text, end=turn.end)
        else:
            turns.append(turn)
    return turns


def read_segments(item: Item, register: list[KnownVoice], config: VoicesConfig) -> list[Turn]:
    """An item's segments that hold text, one by one, with the names of known voices.

    Labels come from the transcript; a label with a recognised voice, or one that is itself a
    registered name (imported transcripts), gets name and role.

    Raises:
        ValueError: transcript or voices cannot be read; the message names the file.
    """
    record = transcripts.read(item.transcript_file)
    heard = voices.read_item_voices(item.voices_file)
    resolved = voices.resolve(heard, register, config) if heard else {}
    roles = {known.name: known.role for known in register}
    segments: list[Turn] = []
    for segment in record.segments:
        text = " ".join(segment.text.split())
        if not text:
            continue
        known = resolved.get(segment.speaker) if segment.speaker else None
        name = known.name if known else segment.speaker
        role = known.role if known else roles.get(name or "")
        turn = Turn(speaker=name, role=role, text=text, start=segment.start, end=segment.end)
        segments.append(turn)
    return segments
