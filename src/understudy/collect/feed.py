"""A podcast feed: RSS or Atom, one item for each entry with an enclosure."""

from __future__ import annotations

import calendar
import dataclasses
import hashlib
import html.parser
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

from understudy import __version__
from understudy.collect import info
from understudy.collect.address import Addresses, fetch
from understudy.collect.downloader import Downloader
from understudy.collect.found import Note, UnusableError
from understudy.collect.info import language, without_credentials
from understudy.collect.names import one_line, paragraphs, short_hash, slug
from understudy.console import UserError, warn
from understudy.records.item import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Item, Source

MAX_FEED_BYTES = 64 << 20
TITLE_CHARACTERS = 40
SUFFIX_OF_TYPE = {
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/m4a": ".m4a",
    "audio/mp3": ".mp3",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/wav": ".wav",
    "audio/webm": ".weba",
    "audio/x-m4a": ".m4a",
    "audio/x-wav": ".wav",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-m4v": ".m4v",
}
SECONDS_PER_STEP = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """An entry of a feed."""

    entry: Any
    """As feedparser gives it: a dictionary with attributes."""
    feed: Any
    """The channel's own data."""
    feed_url: str
    """Where the feed was fetched, without credentials; its query may be a listener's own."""
    downloader: Downloader
    twin: bool = False
    """An earlier entry has the same guid and another enclosure."""

    @property
    def label(self) -> str:
        """The title."""
        return one_line(self.entry.get("title", "")) or f"entry {self.key}"

    @property
    def key(self) -> str:
        """What tells this episode from every other, of this feed and of others."""
        return f"{self._guid} {_address(self.enclosure)}" if self.twin else self._guid

    @property
    def _guid(self) -> str:
        """The guid; with the feed's address where it says nothing without, like `1` (RSS 2.0)."""
        guid = str(self.entry.get("id") or "").strip()
        if not guid:
            link = self.entry.get("link") or _address(self.enclosure) or self.entry.get("title")
            return str(link or "")
        if "://" in guid or guid.startswith("tag:") or _is_uuid(guid):
            return guid
        return f"{self.feed_url} {guid}"

    @property
    def enclosure(self) -> dict[str, Any] | None:
        """The first enclosure with audio or video."""
        for enclosure in self.entry.get("enclosures", ()):
            if enclosure.get("href") and _file_name(enclosure) is not None:
                return {**enclosure, "href": urljoin(self.feed_url, enclosure["href"])}
        return None

    def place(self, corpus: Path) -> Item:
        """`<title>-<hash>`; the hash alone counts, so that a title may change later."""
        key = short_hash(self.key)
        folder = corpus / f"{slug(self.label, TITLE_CHARACTERS) or 'entry'}-{key}"
        if not folder.exists():
            folder = next(iter(sorted(corpus.glob(f"*-{key}"))), folder)
        folder.mkdir(exist_ok=True)
        return Item(folder)

    def inputs(self, item: Item) -> dict[str, str]:  # noqa: ARG002  # the feed alone identifies it
        """The entry's key. Addresses are left out: they differ from one fetch to the next."""
        if self.enclosure is None:
            given = [str(found.get("type")) for found in self.entry.get("enclosures", ())]
            raise UnusableError(
                f"the entry has no audio or video enclosure, only {', '.join(given)}"
                if given
                else "the entry has no enclosure"
            )
        return {"entry": hashlib.sha256(self.key.encode()).hexdigest()}

    def bring(self, item: Item, note: Note) -> list[Path]:
        """Download the enclosure and write what the feed says of it."""
        enclosure = self.enclosure
        assert enclosure is not None
        name = _file_name(enclosure)
        assert name is not None
        target = item.folder / name
        record = {
            "url": enclosure["href"],
            "ext": target.suffix[1:],
            "http_headers": {"User-Agent": f"understudy/{__version__}"},
        }
        self.downloader.fetch(record, target, lambda done: note(f"{self.label[:30]} {done}"))
        info.write(item.folder / "info.json", self._info())
        item.write_source(self._source())
        return [target, item.folder / "info.json", item.source_file]

    def _source(self) -> Source:
        entry, feed = self.entry, self.feed
        tags = [one_line(str(tag.get("term") or "")) for tag in entry.get("tags", ())]
        shelves = [one_line(str(tag.get("term") or "")) for tag in feed.get("tags", ())]
        description = entry.get("summary") or _content(entry)
        licence = next(
            filter(None, (place.get(name) for place, name in _licences(entry, feed))), ""
        )
        address = str(entry.get("link") or "") or _address(self.enclosure)
        return Source(
            title=self.label,
            origin=without_credentials(one_line(address)),
            category=next(filter(None, shelves), None),
            language=language(entry.get("language") or feed.get("language")),
            licence=one_line(str(licence)) or None,
            published=_date(entry.get("published_parsed") or entry.get("updated_parsed")),
            description=plain_text(str(description or "")) or None,
            tags=list(dict.fromkeys(filter(None, tags))),
        )

    def _info(self) -> dict[str, Any]:
        """What the feed says beyond `source.json`, under yt-dlp's names."""
        entry = self.entry
        return {
            "extractor": "feed",
            "id": one_line(str(self.entry.get("id") or "")) or None,
            "webpage_url": self.feed_url.partition("?")[0],
            "series": one_line(str(self.feed.get("title") or "")) or None,
            "uploader": one_line(str(entry.get("author") or self.feed.get("author") or "")) or None,
            "season_number": _number(entry.get("itunes_season")),
            "episode_number": _number(entry.get("itunes_episode")),
            "duration": seconds(str(entry.get("itunes_duration") or "")),
        }


def _licences(entry: Any, feed: Any) -> Iterator[tuple[Any, str]]:  # noqa: ANN401
    for name in ("license", "rights"):
        for place in (entry, feed):
            yield place, name


def _content(entry: Any) -> str:  # noqa: ANN401  # a feedparser dictionary
    return next((str(part.get("value") or "") for part in entry.get("content", ())), "")


def _address(enclosure: dict[str, Any] | None) -> str:
    """The enclosure's address without its query, which carries the visitor's own tokens."""
    if enclosure is None:
        return ""
    return str(enclosure["href"]).partition("?")[0].partition("#")[0]


def _file_name(enclosure: Any) -> str | None:  # noqa: ANN401  # a feedparser dictionary
    """`audio.<ext>` or `video.<ext>`; None where it is neither. The feed's type counts first."""
    kind = str(enclosure.get("type") or "").partition(";")[0].strip().lower()
    suffix = PurePosixPath(urlsplit(_address(dict(enclosure))).path).suffix.lower()
    if kind in SUFFIX_OF_TYPE and not _fits(suffix, kind):
        suffix = SUFFIX_OF_TYPE[kind]
    if suffix in AUDIO_SUFFIXES:
        return f"audio{suffix}"
    return f"video{suffix}" if suffix in VIDEO_SUFFIXES else None


def _fits(suffix: str, kind: str) -> bool:
    return suffix in (AUDIO_SUFFIXES if kind.startswith("audio/") else VIDEO_SUFFIXES)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _date(parsed: Any) -> str | None:  # noqa: ANN401  # a struct_time in UTC
    if not parsed:
        return None
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), tz=UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def _number(value: object) -> int | None:
    text = str(value or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def seconds(text: str) -> float | None:
    """`itunes:duration` in seconds: `3725`, `62:05` or `1:02:05`; None where it is none of them."""
    total = 0.0
    try:
        for part in text.strip().split(":"):
            total = total * SECONDS_PER_STEP + float(part)
    except ValueError:
        return None
    return total if 0 < total < float("inf") else None


class _Text(html.parser.HTMLParser):
    """Collects the text of HTML, a line for each block."""

    BLOCKS = frozenset(("br", "div", "h1", "h2", "h3", "li", "p", "tr", "ul"))

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def plain_text(text: str) -> str:
    """A description without its HTML, empty lines and characters that are not to be seen."""
    reader = _Text()
    reader.feed(text)
    reader.close()
    lines = paragraphs("".join(reader.parts)).splitlines()
    return "\n".join(line for line in lines if line)


def find(url: str | None, addresses: Addresses) -> list[Episode]:
    """The episodes of a feed, in its own order; those without audio among them.

    Raises:
        UserError: no address is given, it is refused or cannot be had, or it is no feed.
    """
    if not url:
        raise UserError("source.url is not set: give the feed's address, source.url=https://...")
    text = fetch(url, addresses, MAX_FEED_BYTES)
    import feedparser

    # Never a string: feedparser would take one that looks like an address or a path for a place.
    # Nor the feed's address: it would make addresses of guids.
    parsed = feedparser.parse(io.BytesIO(text))
    if not parsed.entries:
        why = parsed.get("bozo_exception")
        raise UserError(
            f"{without_credentials(url)} is no feed with entries"
            + (f" ({one_line(str(why))})" if why else "")
            + ": give the address of an RSS or Atom feed."
        )
    downloader, shown = Downloader(addresses), without_credentials(url)
    return _told_apart(
        [
            Episode(entry=entry, feed=parsed.feed, feed_url=shown, downloader=downloader)
            for entry in parsed.entries
        ]
    )


def _told_apart(episodes: list[Episode]) -> list[Episode]:
    """The episodes without repetitions; those that share a guid told apart by their enclosure."""
    kept: dict[str, Episode] = {}
    for episode in episodes:
        first = kept.get(episode.key)
        if first is None:
            kept[episode.key] = episode
            continue
        twin = dataclasses.replace(episode, twin=True)
        if _address(first.enclosure) == _address(twin.enclosure) or twin.key in kept:
            warn(f"{episode.label}: the feed lists this entry twice, taken once")
        else:
            kept[twin.key] = twin
    return list(kept.values())
