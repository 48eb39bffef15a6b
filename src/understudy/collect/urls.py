"""Any address that yt-dlp knows: a channel, a playlist, a video, a direct link to media."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from understudy.collect import info
from understudy.collect.address import Addresses
from understudy.collect.downloader import Downloader
from understudy.collect.found import Note, UnusableError
from understudy.collect.info import without_credentials
from understudy.collect.names import exact_slug, one_line, short_hash, slug
from understudy.console import UserError, warn
from understudy.records.item import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Item

AUDIO_SUFFIX_OF = {".webm": ".weba", ".mp4": ".m4a", ".m4v": ".m4a", ".mkv": ".mka"}
"""Containers that hold audio alone, by the suffix of those that hold video."""
TITLE_CHARACTERS = 40
MAX_DEPTH = 3
"""A channel lists its tabs, a tab its videos."""
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]+)*")
GENERIC = "generic"


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """An entry of what yt-dlp listed."""

    listed: dict[str, Any]
    """yt-dlp's record: a reference in a list, or a whole video."""
    origin: str
    """The address it was listed at."""
    downloader: Downloader

    @property
    def label(self) -> str:
        """The title, else the address."""
        return one_line(str(self.listed.get("title") or "")) or without_credentials(self.address)

    @property
    def address(self) -> str:
        """The video's own address; a record that has none keeps that of its list."""
        listed = self.listed
        own = listed.get("url") if self.is_reference else None
        return str(own or listed.get("webpage_url") or self.origin)

    @property
    def is_reference(self) -> bool:
        """Whether yt-dlp has yet to look at it."""
        return str(self.listed.get("_type", "video")).startswith("url")

    @property
    def key(self) -> str:
        """`<extractor>-<id>`, so that a video in two lists is one item; else the address.

        Ids of the generic extractor are file names: every feed has an `ep1`.
        """
        extractor = str(self.listed.get("ie_key") or self.listed.get("extractor_key") or GENERIC)
        number = self.listed.get("id")
        if extractor.lower() == GENERIC or not number:
            inner = "" if self.is_reference or not number else f"#{number}"
            return self.address + inner
        return f"{extractor.lower()}-{number}"

    def place(self, corpus: Path) -> Item:
        """A folder named by the key."""
        if "://" in self.key:
            path = PurePosixPath(urlsplit(self.address).path)
            title = slug(str(self.listed.get("title") or path.stem), TITLE_CHARACTERS)
            known = sorted(corpus.glob(f"*-{short_hash(self.key)}"))
            folder = known[0] if known else corpus / f"{title or 'video'}-{short_hash(self.key)}"
        else:
            folder = corpus / exact_slug(self.key)
        folder.mkdir(exist_ok=True)
        return Item(folder)

    def inputs(self, item: Item) -> dict[str, str]:  # noqa: ARG002  # the site alone identifies it
        """The video's key."""
        return {"video": without_credentials(self.key)}

    def bring(self, item: Item, note: Note) -> list[Path]:
        """Download the best audio as it is, the subtitles, and what yt-dlp knows of it."""
        record = self.listed
        if self.is_reference:
            record = self.downloader.record(self.address, self.listed.get("ie_key"))
        target = item.folder / _file_name(record)
        self.downloader.fetch(record, target, lambda done: note(f"{self.label[:30]} {done}"))
        subtitles = self._subtitles(record, item, note)
        info.write(item.folder / "info.json", record)
        item.write_source(info.source(record, origin=self.address, title=self.label))
        return [target, *subtitles, item.folder / "info.json", item.source_file]

    def _subtitles(self, record: dict[str, Any], item: Item, note: Note) -> list[Path]:
        """The human-made subtitles that come as WebVTT; one that cannot be had is named."""
        written = []
        for language, formats in sorted((record.get("subtitles") or {}).items()):
            vtt = next((form for form in formats if form.get("ext") == "vtt"), None)
            if vtt is None or not LANGUAGE.fullmatch(language):
                continue
            target = item.folder / f"subtitles.{language}.vtt"
            try:
                self._subtitle(vtt, target, note)
            except UnusableError as error:
                warn(f"{self.label}: no subtitles {language}: {error}")
            else:
                written.append(target)
        return written

    def _subtitle(self, form: dict[str, Any], target: Path, note: Note) -> None:
        if form.get("data") is not None:
            target.write_text(str(form["data"]), encoding="utf-8")
        else:
            self.downloader.fetch(form, target, note)
        with target.open("rb") as file:
            head = file.read(16).removeprefix(b"\xef\xbb\xbf")
        if not head.startswith(b"WEBVTT"):
            target.unlink()
            raise UnusableError("what the server sent is no WebVTT")


def _file_name(record: dict[str, Any]) -> str:
    """`audio.<ext>`, or `video.<ext>` where the best there is has a picture.

    Raises:
        UnusableError: it is a list, runs live, or is no audio or video.
    """
    if record.get("_type", "video") != "video":
        raise UnusableError("it is a list of its own: give its address as source.url")
    if record.get("is_live"):
        raise UnusableError("it is live now: collect it when it is over")
    suffix = f".{str(record.get('ext') or '').lower()}"
    if record.get("vcodec") == "none":
        suffix = AUDIO_SUFFIX_OF.get(suffix, suffix)
    if suffix in AUDIO_SUFFIXES:
        return f"audio{suffix}"
    if suffix in VIDEO_SUFFIXES:
        return f"video{suffix}"
    raise UnusableError(f"its format {one_line(suffix)} is not known as audio or video")


def find(url: str | None, addresses: Addresses) -> list[Video]:
    """The videos at an address, in the site's own order.

    Raises:
        UserError: no address is given, it is refused, or yt-dlp can make nothing of it.
    """
    if not url:
        raise UserError(
            "source.url is not set: give a channel's, playlist's or video's address, "
            "source.url='https://...'."
        )
    addresses.check(url)
    downloader = Downloader(addresses)
    try:
        record = downloader.record(url)
    except UnusableError as error:
        raise UserError(f"source.url={without_credentials(url)}: {error}.") from None
    videos: dict[str, Video] = {}
    for listed in _listed(record, downloader, MAX_DEPTH):
        video = Video(listed=listed, origin=url, downloader=downloader)
        videos.setdefault(video.key, video)
    if not videos:
        raise UserError(f"source.url={without_credentials(url)} lists no videos.")
    return list(videos.values())


def _listed(record: dict[str, Any], downloader: Downloader, depth: int) -> list[dict[str, Any]]:
    """The videos of a record, those of lists within the list included."""
    if record.get("_type") not in ("playlist", "multi_video"):
        return [record]
    found: list[dict[str, Any]] = []
    for entry in record.get("entries") or ():
        if not entry:
            warn(f"{record.get('title') or 'the list'}: an entry is not available, left out")
        elif depth > 1 and str(entry.get("ie_key")) in ("YoutubeTab", "YoutubePlaylist"):
            inner = downloader.record(entry["url"], entry["ie_key"])
            found += _listed(inner, downloader, depth - 1)
        else:
            found.append(entry)
    return found
