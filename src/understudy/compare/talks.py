"""Samples side by side: each prompt as a little talk, and who went on with it how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.compare import length
from understudy.compare.difference import Segment, difference, whole
from understudy.compare.repetition import seq_rep
from understudy.records.checkpoints import BASE
from understudy.records.rows import Meta, Row
from understudy.records.samples import Sample

Key = tuple[str, str, str, int]
"""What makes a sample the one it is: prompt, checkpoint, decoder, seed."""
SHOWN_TURNS = 2
"""Turns of a prompt that are shown at once; earlier ones unfold."""
REPETITIVE = 0.2
"""A sample with seq-rep-4 above this is marked."""
ENDINGS = {"stop": "ended its turn", "length": "cut at the limit"}
ROLES = {"system": "System message", "user": "User", "assistant": "Assistant"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message of a prompt."""

    who: str
    role: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One sample as it is shown."""

    anchor: str
    checkpoint: str
    base: bool
    seed: int
    segments: Sequence[Segment]
    """The text; beside it, what the base model said instead."""
    empty: bool
    compared: bool
    """Whether a base sample of the same prompt and decoder was there to compare with."""
    ending: str
    words: int
    tokens: int
    repeated: float | None
    """seq-rep-4, where it is high enough to be marked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderRow:
    """All checkpoints' samples of one prompt with one decoder."""

    decoder: str
    cards: Sequence[Card]


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """One prompt and everything that was made of it."""

    id: str
    number: int
    item: str | None
    earlier: Sequence[Turn]
    recent: Sequence[Turn]
    next_speaker: str
    reference: str | None
    reference_words: int
    rows: Sequence[DecoderRow]


def talks(
    samples: Sequence[Sample],
    checkpoints: Sequence[str],
    valid_rows: Sequence[Row],
    *,
    differences: bool = True,
) -> list[Talk]:
    """Arrange samples by prompt, decoder and checkpoint.

    Args:
        samples: In the order they were made.
        checkpoints: In the order of their columns.
        valid_rows: Where the prompts come from; they know the speakers' names.
        differences: Whether to mark word differences against the base model.
    """
    places = _places(valid_rows)
    anchors = {sample.key: f"sample-{n}" for n, sample in enumerate(samples, start=1)}
    found = []
    for number, name in enumerate(dict.fromkeys(s.prompt_id for s in samples), start=1):
        members = [sample for sample in samples if sample.prompt_id == name]
        place = _place(members[0], places)
        rows = _rows(members, checkpoints, anchors, differences=differences)
        found.append(_talk(number, members, place, rows))
    return found


def _places(rows: Sequence[Row]) -> dict[str, Meta]:
    """Where each held-out message was said: prompts are cut from these rows."""
    return {
        message.content: row.meta
        for row in rows
        for message in row.messages
        if message.role != "system"
    }


def _place(sample: Sample, places: Mapping[str, Meta]) -> Meta | None:
    said = [message["content"] for message in sample.prompt if message["role"] != "system"]
    return places.get(said[-1]) if said else None


def _talk(
    number: int,
    members: Sequence[Sample],
    meta: Meta | None,
    rows: Sequence[DecoderRow],
) -> Talk:
    names = meta.speakers if meta else {}
    sample = members[0]
    turns = [
        Turn(
            who=names.get(message["role"]) or ROLES.get(message["role"], message["role"]),
            role=message["role"],
            text=message["content"],
        )
        for message in sample.prompt
    ]
    following = "user" if turns and turns[-1].role == "assistant" else "assistant"
    reference = next((member.reference for member in members if member.reference), None)
    cut = max(len(turns) - SHOWN_TURNS, 0)
    return Talk(
        id=sample.prompt_id,
        number=number,
        item=meta.item if meta else None,
        earlier=turns[:cut],
        recent=turns[cut:],
        next_speaker=names.get(following) or ROLES[following],
        reference=reference,
        reference_words=length.count(reference or ""),
        rows=rows,
    )


def _rows(
    members: Sequence[Sample],
    checkpoints: Sequence[str],
    anchors: Mapping[Key, str],
    *,
    differences: bool,
) -> list[DecoderRow]:
    rows = []
    for decoder in dict.fromkeys(member.decoder for member in members):
        said = [member for member in members if member.decoder == decoder]
        rows.append(
            DecoderRow(
                decoder=decoder,
                cards=_cards(said, checkpoints, anchors, differences=differences),
            )
        )
    return rows


def _cards(
    said: Sequence[Sample],
    checkpoints: Sequence[str],
    anchors: Mapping[Key, str],
    *,
    differences: bool,
) -> list[Card]:
    bases = {member.seed: member.text for member in said if member.checkpoint == BASE}
    fallback = next(iter(bases.values()), None)
    cards = []
    for checkpoint in checkpoints:
        for member in said:
            if member.checkpoint == checkpoint:
                base = bases.get(member.seed, fallback) if differences else None
                cards.append(_card(member, base, anchors[member.key]))
    return cards


def _card(sample: Sample, base: str | None, anchor: str) -> Card:
    compared = base is not None and sample.checkpoint != BASE
    repeated = seq_rep(sample.text)
    return Card(
        anchor=anchor,
        checkpoint=sample.checkpoint,
        base=sample.checkpoint == BASE,
        seed=sample.seed,
        segments=difference(base or "", sample.text) if compared else whole(sample.text),
        empty=not sample.text.strip(),
        compared=compared,
        ending=ENDINGS.get(sample.finish_reason, sample.finish_reason),
        words=length.count(sample.text),
        tokens=sample.new_tokens,
        repeated=repeated if repeated is not None and repeated > REPETITIVE else None,
    )
