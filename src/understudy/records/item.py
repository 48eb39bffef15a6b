"""An item of a corpus: one episode or video, in a folder of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy import artifacts

AUDIO_SUFFIXES = frozenset(
    (".aac", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".weba", ".wma")
)
VIDEO_SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chapter:
    """A titled stretch of an item."""

    start_seconds: float
    end_seconds: float
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """`source.json`: what an item is and where it comes from."""

    title: str
    origin: str | None = None
    """Address or file name it was taken from."""
    guest: str | None = None
    guest_biography: str | None = None
    creator: str | None = None
    """Who made it: a channel, a show."""
    category: str | None = None
    language: str | None = None
    """ISO 639-1 code."""
    licence: str | None = None
    published: str | None = None
    """ISO 8601 date."""
    description: str | None = None
    tags: list[str] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    start_seconds: float | None = None
    """Where the show begins: what is said before is its intro."""
    end_seconds: float | None = None
    """Where the show ends: what is said after is its outro."""

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Source:
        """Read what is known of a `source.json`.

        Raises:
            ValueError: a field is missing, unknown or of the wrong kind.
        """
        unknown = set(record) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")
        if not isinstance(record.get("title"), str):
            raise ValueError("no title")  # noqa: TRY004  # the file is wrong, not a type
        for name in ("start_seconds", "end_seconds"):
            value = record.get(name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float)
            ):
                raise ValueError(f"{name} is no number")
        try:
            chapters = [Chapter(**chapter) for chapter in record.get("chapters", [])]
        except TypeError as error:
            raise ValueError(f"chapters: {error}") from None
        return cls(**{**record, "chapters": chapters})


@dataclass(frozen=True, slots=True)
class Item:
    """An item's folder and the files that may lie in it."""

    folder: Path

    @property
    def name(self) -> str:
        """The item's id within its corpus."""
        return self.folder.name

    @property
    def source_file(self) -> Path:
        """`source.json`."""
        return self.folder / "source.json"

    @property
    def transcript_file(self) -> Path:
        """`transcript.json`."""
        return self.folder / "transcript.json"

    @property
    def voices_file(self) -> Path:
        """`voices.npz`."""
        return self.folder / "voices.npz"

    def manifest_file(self, stage: str) -> Path:
        """`manifest.<stage>.json`."""
        return self.folder / f"manifest.{stage}.json"

    def failure_file(self, stage: str) -> Path:
        """`failed.<stage>.json`: why the stage could not do this item."""
        return self.folder / f"failed.{stage}.json"

    @property
    def media_file(self) -> Path | None:
        """The audio file, else the video file, else None."""
        for stem, suffixes in (("audio", AUDIO_SUFFIXES), ("video", VIDEO_SUFFIXES)):
            for file in sorted(self.folder.glob(f"{stem}.*")):
                if file.suffix.lower() in suffixes:
                    return file
        return None

    def source(self) -> Source:
        """What `source.json` says.

        Raises:
            ValueError: the file is no valid `source.json`; the message names it.
        """
        try:
            return Source.from_json(json.loads(self.source_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(f"{self.source_file}: {error}") from None

    def write_source(self, source: Source) -> None:
        """Write `source.json`, without the fields that are not known."""
        record = artifacts.record(source)
        known = {name: value for name, value in record.items() if value not in (None, [])}
        artifacts.write_json(self.source_file, known)

    def failure(self, stage: str) -> str | None:
        """Why the stage could not do this item; None if it did not fail."""
        try:
            record = json.loads(self.failure_file(stage).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return str(record["reason"])

    def write_failure(self, stage: str, reason: str) -> None:
        """Note why the stage could not do this item; the next run tries again."""
        artifacts.write_json(self.failure_file(stage), {"stage": stage, "reason": reason})

    def clear_failure(self, stage: str) -> None:
        """Forget an earlier failure."""
        self.failure_file(stage).unlink(missing_ok=True)


def items(corpus: Path) -> list[Item]:
    """The items of a corpus that `collect` finished, in order of their names."""
    if not corpus.is_dir():
        return []
    folders = sorted(folder for folder in corpus.iterdir() if folder.is_dir())
    found = [Item(folder) for folder in folders]
    return [item for item in found if item.manifest_file("collect").exists()]
