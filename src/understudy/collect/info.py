"""`info.json`: a downloader's record of an item, without what expires or tells of this machine."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from understudy import artifacts
from understudy.collect.names import one_line, paragraphs
from understudy.records.item import Chapter, Source

DROPPED = frozenset(
    (
        "automatic_captions",
        "cookies",
        "entries",
        "filename",
        "filepath",
        "formats",
        "fragment_base_url",
        "fragments",
        "http_headers",
        "infojson_filename",
        "manifest_url",
        "requested_downloads",
        "requested_entries",
        "requested_formats",
        "requested_subtitles",
        "subtitles",
        "thumbnail",
        "thumbnails",
        "url",
        "urls",
    )
)
"""Addresses of media are signed and expire; headers and cookies are the visitor's own."""

DATE_DIGITS = 8


def cleaned(record: Any) -> Any:  # noqa: ANN401  # any JSON value
    """The record without expiring addresses, private keys, credentials and unknown values."""
    if isinstance(record, dict):
        return {
            key: cleaned(value)
            for key, value in record.items()
            if key not in DROPPED and not key.startswith("_") and value is not None
        }
    if isinstance(record, list):
        return [cleaned(value) for value in record]
    return without_credentials(record) if isinstance(record, str) else record


def without_credentials(text: str) -> str:
    """An address without `user:password@`; any other text as it is."""
    if not text.startswith(("http://", "https://")) or "@" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def write(path: Path, record: dict[str, Any]) -> None:
    """Write the cleaned record, atomically."""
    artifacts.write_json(path, cleaned(record))


def source(record: dict[str, Any], *, origin: str, title: str) -> Source:
    """`source.json` from yt-dlp's record.

    Args:
        record: yt-dlp's record of one video.
        origin: Where it was taken from, if the record does not say.
        title: The title, if the record has none.
    """
    categories = record.get("categories") or [None]
    return Source(
        title=one_line(str(record.get("title") or "")) or title,
        origin=without_credentials(str(record.get("webpage_url") or origin)),
        category=_line(categories[0]),
        language=language(record.get("language")),
        licence=_line(record.get("license")),
        published=published(record.get("upload_date")),
        description=paragraphs(str(record.get("description") or "")) or None,
        tags=[one_line(str(tag)) for tag in record.get("tags") or []],
        chapters=chapters(record),
    )


def _line(value: object) -> str | None:
    return one_line(str(value)) or None if value else None


def language(code: object) -> str | None:
    """`en` for `en`, `en-US` or `en_us`; None where nothing is said."""
    if not isinstance(code, str):
        return None
    first = code.replace("_", "-").split("-")[0].strip().lower()
    return first if first.isascii() and first.isalpha() else None


def published(digits: object) -> str | None:
    """ISO date of a `YYYYMMDD`."""
    if not isinstance(digits, str) or len(digits) != DATE_DIGITS:
        return None
    try:
        return date.fromisoformat(digits).isoformat()
    except ValueError:
        return None


def chapters(record: dict[str, Any]) -> list[Chapter]:
    """The record's chapters; an end that is not given is the next one's start or the item's end."""
    found = [chapter for chapter in record.get("chapters") or [] if isinstance(chapter, dict)]
    starts = [float(chapter.get("start_time") or 0) for chapter in found]
    last = record.get("duration")
    ends = [*starts[1:], starts[-1] if last is None and starts else float(last or 0)]
    return [
        Chapter(
            start_seconds=start,
            end_seconds=float(chapter.get("end_time") or end),
            title=one_line(str(chapter.get("title") or "")),
        )
        for chapter, start, end in zip(found, starts, ends, strict=False)
    ]
