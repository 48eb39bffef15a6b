"""Names and texts from outside: made safe for folders and for people's screens."""

from __future__ import annotations

import hashlib
import unicodedata

SLUG_CHARACTERS = 60
NAME_BYTES = 180
HASH_DIGITS = 8


def short_hash(text: str) -> str:
    """8 hex digits of the text's SHA-256: enough to tell the items of a corpus apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]


def one_line(text: str) -> str:
    """The text on one line, without control characters and direction marks."""
    return " ".join(_visible(text).split())


def paragraphs(text: str) -> str:
    """The text with its line breaks, without control characters and direction marks."""
    lines = (one_line(line) for line in text.splitlines())
    return "\n".join(lines).strip()


def _visible(text: str) -> str:
    """Control characters become spaces; marks that only steer the display or are torn go."""
    kept = []
    for character in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(character)
        if kind == "Cc":
            kept.append(" ")
        elif kind not in ("Cf", "Cs", "Co", "Cn"):
            kept.append(character)
    return "".join(kept)


def slug(text: str, limit: int = SLUG_CHARACTERS) -> str:
    """A folder name like the text: letters, digits, `-`, `_` and `.`, at most `limit` long.

    Different texts can have the same slug; it is empty where nothing of the text can stay.
    """
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in one_line(text))
    while "--" in safe:
        safe = safe.replace("--", "-")
    return _shortened(safe, limit).strip("-._")


def exact_slug(text: str) -> str:
    """A folder name for an id: different ids have different names, case aside."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text)
    if safe == text and len(safe) <= SLUG_CHARACTERS:
        return safe
    return f"{safe[:SLUG_CHARACTERS]}-{short_hash(text)}"


def _shortened(text: str, limit: int) -> str:
    """At most `limit` characters and as many bytes as a file name may have."""
    text = text[:limit]
    while len(text.encode()) > NAME_BYTES:
        text = text[:-1]
    return text
