"""Where a text may be cut: behind a sentence, or behind a word; never within one."""

from __future__ import annotations

import re

Span = tuple[int, int]
"""Characters [first, last)."""

# A sentence ends at its mark, with the quotes and brackets behind it, where whitespace follows.
SENTENCE = re.compile(
    r"\S.*?(?:[.!?\u2026]+[\"'\u201d\u2019\u00bb)\]]*(?=\s|$)|(?=\n\s*\n)|$)", re.DOTALL
)
WORD = re.compile(r"\S+")


def sentences(text: str, first: int = 0, last: int | None = None) -> list[Span]:
    """The sentences of `text[first:last]`; together they hold every character but whitespace."""
    end = len(text) if last is None else last
    return _trimmed(text, [match.span() for match in SENTENCE.finditer(text[first:end])], first)


def words(text: str, span: Span) -> list[Span]:
    """The words of a span."""
    first, last = span
    return [(first + a, first + b) for a, b in (m.span() for m in WORD.finditer(text[first:last]))]


def _trimmed(text: str, spans: list[Span], offset: int) -> list[Span]:
    trimmed = []
    for first, last in spans:
        piece = text[first + offset : last + offset]
        trimmed.append((first + offset, first + offset + len(piece.rstrip())))
    return trimmed
