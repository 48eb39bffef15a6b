"""A folder of local files: audio, video, transcripts and subtitles, grouped by their stem."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from understudy import artifacts
from understudy.collect import info
from understudy.collect.found import Note, UnusableError
from understudy.collect.names import one_line, short_hash, slug
from understudy.collect.stamp import Stamp, copy
from understudy.console import UserError, say, warn
from understudy.records import transcript as transcripts
from understudy.records.item import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Item, Source

SUBTITLE_SUFFIXES = frozenset((".srt", ".vtt"))
SIDECARS = ("transcript.json", "source.json", "info.json")
"""`<stem>.transcript.json` and so on; the name in the item is the part after the stem."""
DESCRIBING = frozenset(("source.json", "info.json"))
"""Sidecars that say what an item is, and are no item by themselves."""
REGISTER = "speakers.json"
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]+)*")
UNKNOWN_LANGUAGE = "und"
ORIGIN_FILE = ".collect.json"
"""In an item: which folder and stem it came from, and the stamps of its files there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where an item came from."""

    folder: str
    stem: str
    stamps: dict[str, Stamp]
    """By the file's name in the item; empty as long as nothing was copied."""

    @classmethod
    def read(cls, item: Item) -> Origin | None:
        """The item's origin; None where it has none, or not from a folder."""
        try:
            record = json.loads((item.folder / ORIGIN_FILE).read_text(encoding="utf-8"))
            stamps = {name: Stamp(**stamp) for name, stamp in record.pop("stamps").items()}
            return cls(stamps=stamps, **record)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, item: Item) -> None:
        """Keep it in the item."""
        artifacts.write_json(item.folder / ORIGIN_FILE, self)


@dataclass(kw_only=True, slots=True)
class Group:
    """The files of one stem; `collect` makes them one item."""

    folder: Path
    stem: str
    fresh: bool = False
    files: dict[str, Path] = field(default_factory=dict)
    """By their name in the item."""
    stamps: dict[str, Stamp] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The stem, as it is shown."""
        return one_line(self.stem)

    def add(self, name: str, file: Path) -> bool:
        """Add a file, unless there is one of its kind already (`audio.mp3` beside `audio.wav`)."""
        kind = name.partition(".")[0] if name.startswith(("audio.", "video.")) else name
        if any(known == kind or known.startswith(f"{kind}.") for known in self.files):
            return False
        self.files[name] = file
        return True

    def place(self, corpus: Path) -> Item:
        """The item named like the stem; with a hash where another thing has that name."""
        name = slug(self.stem) or "item"
        item = Item(corpus / name)
        origin = Origin.read(item)
        if item.folder.exists() and (origin is None or origin.stem != self.stem):
            item = Item(corpus / f"{name}-{short_hash(self.stem)}")
        if not item.folder.exists():
            # With its origin from the first moment: a kill leaves no folder that nobody owns.
            made = Item(corpus / f".{item.name}.new")
            made.folder.mkdir(exist_ok=True)
            Origin(folder=self._folder, stem=self.stem, stamps={}).write(made)
            made.folder.rename(item.folder)
        return item

    def inputs(self, item: Item) -> dict[str, str]:
        """SHA-256 of each file, by its name in the item.

        Raises:
            UnusableError: a file is empty or is not what its name says, or the item is another's.
        """
        origin = Origin.read(item)
        known = origin.stamps if origin else {}
        self.stamps = {
            name: Stamp.of(file, known.get(name)) for name, file in sorted(self.files.items())
        }
        sums = {name: stamp.sha256 for name, stamp in self.stamps.items()}
        if known and sums == {name: stamp.sha256 for name, stamp in known.items()}:
            if self.stamps != known:
                self._remember(item)
            return sums
        self._check()
        if origin and known and origin.folder != self._folder and not self.fresh:
            raise UnusableError(
                f"{item.folder} is there already, with other files from {origin.folder}: "
                "rename one of the two, or replace it with fresh=true"
            )
        return sums

    def bring(self, item: Item, note: Note) -> list[Path]:
        """Copy the files: what they are copied from may change later."""
        written = [item.source_file]
        for name, file in sorted(self.files.items()):
            if name in DESCRIBING or (name == "transcript.json" and self._keeps_heard(item)):
                continue
            note(one_line(file.name))
            copy(file, item.folder / name)
            written.append(item.folder / name)
        item.write_source(self._source())
        record = self._info()
        if record is not None:
            info.write(item.folder / "info.json", record)
            written.append(item.folder / "info.json")
        self._remember(item)
        return written

    def _keeps_heard(self, item: Item) -> bool:
        """Whether the item's transcript is no import: `transcribe` made it, and it stays."""
        if not item.transcript_file.is_file():
            return False
        origin = Origin.read(item)
        imports = [self.stamps, origin.stamps if origin else {}]
        sums = {
            stamps["transcript.json"].sha256 for stamps in imports if "transcript.json" in stamps
        }
        if artifacts.sha256_file(item.transcript_file) in sums:
            return False
        warn(f"{item.name}: the transcript that was made here is kept, the folder's is left alone")
        return True

    @property
    def _folder(self) -> str:
        return str(self.folder.resolve())

    def _remember(self, item: Item) -> None:
        Origin(folder=self._folder, stem=self.stem, stamps=self.stamps).write(item)

    def _check(self) -> None:
        for file in self.files.values():
            if file.stat().st_size == 0:
                raise UnusableError(f"{one_line(str(file))} has zero bytes")
        try:
            if "transcript.json" in self.files:
                transcripts.read(self.files["transcript.json"])
        except ValueError as error:
            raise UnusableError(one_line(str(error))) from None
        self._source()

    def _source(self) -> Source:
        record = self._info() or {}
        file = self.files.get("source.json")
        if file is None:
            origin = one_line(self.files[min(self.files)].name)
            return info.source(record, origin=origin, title=self.label or "untitled")
        try:
            return Source.from_json(_object(file))
        except ValueError as error:
            raise UnusableError(f"{one_line(str(file))}: {error}") from None

    def _info(self) -> dict[str, object] | None:
        file = self.files.get("info.json")
        try:
            return None if file is None else _object(file)
        except ValueError as error:
            raise UnusableError(f"{one_line(str(file))}: {error}") from None


def _object(file: Path) -> dict[str, object]:
    try:
        record = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, line {error.lineno})") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # the file is wrong, not a type
    return record


def find(path: Path | None, *, fresh: bool) -> list[Group]:
    """The groups of files in a folder, in order of their stems; everything else is said.

    Raises:
        UserError: no folder is given, it is not there, or it has nothing usable.
    """
    if path is None:
        raise UserError(
            "source.path is not set: give the folder with the show's audio, video or transcripts, "
            "source.path=<folder>."
        )
    if not path.is_dir():
        raise UserError(f"source.path={path} is no folder: give one with audio or transcripts.")
    groups, left = _grouped(path, fresh=fresh)
    usable = []
    for group in groups:
        if set(group.files) <= DESCRIBING:
            only = ", ".join(one_line(file.name) for file in group.files.values())
            warn(f"{group.label}: skipped, there is only {only}: no media, transcript or subtitles")
        else:
            usable.append(group)
    _say_left(left)
    if not usable:
        raise UserError(
            f"source.path={path} has nothing to collect: audio ({_list(AUDIO_SUFFIXES)}), video "
            f"({_list(VIDEO_SUFFIXES)}), <name>.transcript.json or <name>.<language>.vtt|srt."
        )
    return usable


def _grouped(path: Path, *, fresh: bool) -> tuple[list[Group], list[Path]]:
    """The folder's groups, and what belongs to none."""
    groups: dict[str, Group] = {}
    left: list[Path] = []
    files = sorted(path.iterdir())
    # Subtitles come last: what is language and what is stem shows by the other files' stems.
    for file in sorted(files, key=lambda file: file.suffix.lower() in SUBTITLE_SUFFIXES):
        if file.name == REGISTER:
            continue
        kept = _kept_as(file, groups) if file.is_file() else None
        if kept is None:
            left.append(file)
            continue
        stem, name = kept
        group = groups.setdefault(stem, Group(folder=path, stem=stem, fresh=fresh))
        if not group.add(name, file):
            warn(f"{one_line(file.name)}: left alone, {group.label} has another one of its kind")
            left.append(file)
    return [groups[stem] for stem in sorted(groups)], left


def _kept_as(file: Path, stems: Iterable[str]) -> tuple[str, str] | None:
    """The stem a file belongs to and its name in the item; None where it belongs to none."""
    for sidecar in SIDECARS:
        if file.name.endswith(f".{sidecar}"):
            return file.name.removesuffix(f".{sidecar}"), sidecar
    suffix = file.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return file.stem, f"audio{suffix}"
    if suffix in VIDEO_SUFFIXES:
        return file.stem, f"video{suffix}"
    if suffix not in SUBTITLE_SUFFIXES:
        return None
    stem, _, language = file.stem.rpartition(".")
    if file.stem not in stems and stem and LANGUAGE.fullmatch(language):
        return stem, f"subtitles.{language}{suffix}"
    return file.stem, f"subtitles.{UNKNOWN_LANGUAGE}{suffix}"


def _say_left(left: list[Path]) -> None:
    if not left:
        return
    files = [file for file in left if not file.is_dir()]
    kinds = Counter(one_line(file.suffix.lower()) or "no suffix" for file in files)
    parts = []
    if files:
        counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        parts.append(f"{_count(len(files), 'file')} ({counts})")
    if len(files) < len(left):
        parts.append(_count(len(left) - len(files), "folder"))
    say(f"left alone: {', '.join(parts)}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _list(suffixes: Iterable[str]) -> str:
    return " ".join(sorted(suffixes))


def bring_register(path: Path, corpus: Path) -> str | None:
    """Copy the folder's `speakers.json` into a corpus that has none.

    Returns:
        Why it could not be used; None where it could, or there is none.
    """
    from understudy.records import voices

    file, target = path / REGISTER, corpus / REGISTER
    if not file.is_file():
        return None
    if target.exists():
        if target.read_bytes() != file.read_bytes():
            say(f"{target} differs from {file} and is kept: only a person changes known voices.")
        return None
    try:
        voices.read_register(file)
    except ValueError as error:
        return one_line(str(error))
    copy(file, target)
    return None
