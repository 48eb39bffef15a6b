"""Spans: a row as its tokens say, in runs of what is learned and what is only read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from understudy.records.rows import Message

if TYPE_CHECKING:
    from understudy.chat.encoder import Encoded, Encoder


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring tokens that are all learned, or all only read."""

    text: str
    """The tokens decoded, control tokens spelled out."""
    trained: bool
    tokens: int


def of(messages: Sequence[Message], encoder: Encoder) -> list[Span]:
    """The row that training sees, decoded from its token ids; all spans joined are the whole row.

    Args:
        messages: A row's messages.
        encoder: The tokenizer and dialect that the set was made for.
    """
    return decoded(encoder.row(messages), encoder)


def decoded(encoded: Encoded, encoder: Encoder) -> list[Span]:
    """The spans of a row that is tokenised already."""
    spans: list[Span] = []
    end, before = 0, ""
    for trained, group in groupby(encoded.trained):
        count = len(list(group))
        end += count
        # Decoded from the start each time: by itself, a run would lose the space it begins with.
        so_far = _decode(encoded.ids[:end], encoder)
        if so_far.startswith(before):
            text = so_far[len(before) :]
        else:
            text = _decode(encoded.ids[end - count : end], encoder)
        spans.append(Span(text, trained, count))
        before = so_far
    return spans


def _decode(ids: Sequence[int], encoder: Encoder) -> str:
    return str(
        encoder.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    )
