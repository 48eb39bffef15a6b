"""Where a show comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from understudy.config.limits import within


class SourceKind(Enum):
    """The kinds of source `collect` can read."""

    folder = "folder"
    feed = "feed"
    urls = "urls"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """One source of items; which fields are needed depends on `kind`."""

    kind: SourceKind
    path: Path | None = None
    """folder: local audio, video and transcripts with their sidecar files."""
    url: str | None = None
    """feed: the address of an RSS or Atom feed. urls: any address that yt-dlp knows."""
    first: int | None = None
    """Take at most this many items, in the source's own order; null takes all."""
    allow_loopback: bool = False
    """Admit http and 127.0.0.1, for local servers; otherwise https to public hosts only."""

    def __post_init__(self) -> None:
        within("source.first", self.first, 1, 1_000_000, unit="items")
