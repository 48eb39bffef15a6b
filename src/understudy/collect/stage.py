"""Collect: from a source to items on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from understudy import artifacts, console
from understudy.artifacts import Identity, Manifest
from understudy.collect.address import Addresses
from understudy.collect.found import Found, Note, UnusableError
from understudy.collect.names import one_line
from understudy.config import Config
from understudy.config.source import SourceConfig, SourceKind
from understudy.console import Exit, Outcome, say, warn
from understudy.records.item import Item

FORMAT = 1
READS: tuple[str, ...] = ()
"""None: an item is what its source says it is, wherever the source was found."""
STAGE = "collect"
FORMER = ".manifest.collect.json"
"""The manifest of an item that is being made again: which files were ours."""
HASHED_BYTES = 1 << 20
"""Files up to this size are hashed to see whether they are whole; the others are measured."""


class Fate(Enum):
    """What became of a thing that was found."""

    new = "new"
    changed = "changed"
    there = "there already"


@dataclass(slots=True)
class Tally:
    """How a run went."""

    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    failures: list[str] = field(default_factory=list)

    @property
    def code(self) -> Exit:
        """Done; in part where something failed; failed where nothing is there."""
        if not self.failures:
            return Exit.DONE
        return Exit.IN_PART if any(self.fates.values()) else Exit.FAILED

    def tell(self) -> None:
        """List the failures, then the counts on one line."""
        for failure in self.failures:
            say(f"  failed: {failure}")
        parts = [f"{count:,} {fate.value}" for fate, count in self.fates.items() if count]
        if self.failures:
            parts.append(f"{len(self.failures):,} failed (listed above)")
        say(f"collect: {', '.join(parts)}")


def run(config: Config) -> Outcome:
    """Collect what the source offers into `data/<corpus>`.

    Raises:
        UserError: the source is not given, not there, refused or empty.
    """
    corpus, source = config.corpus_folder, config.source
    found = _limited(_find(source, fresh=config.fresh), source.first)
    tally = Tally()
    with artifacts.exclusive(corpus):
        if source.kind is SourceKind.folder and source.path is not None:
            _bring_register(source.path, corpus, tally)
        with console.progress(STAGE, len(found), "items") as bar:
            for thing in found:
                _collect_one(thing, corpus, tally, lambda text: bar.advance(0, note=text), config)
                bar.advance(1, note="")
    tally.tell()
    return Outcome(corpus, tally.code)


def _find(source: SourceConfig, *, fresh: bool) -> Sequence[Found]:
    from understudy.collect import feed, folder, urls

    addresses = Addresses(source.allow_loopback)
    if source.kind is SourceKind.folder:
        return folder.find(source.path, fresh=fresh)
    if source.kind is SourceKind.feed:
        return feed.find(source.url, addresses)
    return urls.find(source.url, addresses)


def _limited(found: Sequence[Found], first: int | None) -> Sequence[Found]:
    if first is None or len(found) <= first:
        return found
    say(f"collect: the first {first:,} of {len(found):,} (source.first)")
    return found[:first]


def _bring_register(path: Path, corpus: Path, tally: Tally) -> None:
    from understudy.collect import folder

    reason = folder.bring_register(path, corpus)
    if reason is not None:
        tally.failures.append(reason)


def _collect_one(thing: Found, corpus: Path, tally: Tally, note: Note, config: Config) -> None:
    """Make one item; whatever goes wrong with it is noted, and the others go on."""
    item = thing.place(corpus)
    try:
        fate = _make(thing, item, note, fresh=config.fresh)
    except (UnusableError, OSError) as error:
        reason = one_line(str(error))
        item.write_failure(STAGE, reason)
        name = "" if thing.label == item.name else f" ({item.name})"
        tally.failures.append(f"{thing.label}{name}: {reason}")
    else:
        item.clear_failure(STAGE)
        tally.fates[fate] += 1


def _make(thing: Found, item: Item, note: Note, *, fresh: bool) -> Fate:
    """Make the item, unless it is there already as its source has it."""
    path = item.manifest_file(STAGE)
    identity = Identity(stage=STAGE, format=FORMAT, config={}, inputs=thing.inputs(item))
    before = artifacts.read_manifest(path)
    old = _ours(item, before) if before else []
    broken = [file for file in old if before and not _is_whole(item, file, before)]
    if before and before.identity.hash == identity.hash and not broken and not fresh:
        return Fate.there
    if before:
        # From here on the item is not finished, but what it was made of stays known.
        path.replace(item.folder / FORMER)
        for file in old if fresh else broken:
            file.unlink(missing_ok=True)
    former = artifacts.read_manifest(item.folder / FORMER)
    files = _bring(thing, item, former, note)
    artifacts.seal(path, identity, files)
    (item.folder / FORMER).unlink(missing_ok=True)
    return Fate.changed if former else Fate.new


def _bring(thing: Found, item: Item, former: Manifest | None, note: Note) -> list[Path]:
    """Bring the item's files, and leave nothing of what it was before or of a copy cut short."""
    for kind in ("audio", "video", "subtitles"):
        for part in item.folder.glob(f".{kind}.*.part"):
            part.unlink()
    mended = _mended(item, former)
    old = _ours(item, former) if former else []
    files = thing.bring(item, note)
    for file in set(old) - set(files):
        file.unlink(missing_ok=True)
    if mended is not None:
        artifacts.write_atomic(item.source_file, mended)
        warn(f"{item.name}: its source.json was changed by hand and is kept (not with fresh=true)")
    return files


def _mended(item: Item, former: Manifest | None) -> bytes | None:
    """`source.json` where a person has changed it since it was sealed."""
    sealed = former.files.get(item.source_file.name) if former else None
    if sealed is None or not item.source_file.is_file() or not _is_readable(item):
        return None
    changed = artifacts.sha256_file(item.source_file) != sealed.sha256
    return item.source_file.read_bytes() if changed else None


def _ours(item: Item, manifest: Manifest) -> list[Path]:
    """The files an earlier run made, without a transcript that `transcribe` has made since."""
    files = {item.folder / name: entry for name, entry in manifest.files.items()}
    transcript = item.transcript_file
    sealed = files.get(transcript)
    if sealed and transcript.is_file() and artifacts.sha256_file(transcript) != sealed.sha256:
        del files[transcript]
    return list(files)


def _is_whole(item: Item, file: Path, manifest: Manifest) -> bool:
    """Whether a file is as it was sealed, or `source.json` as a person mended it."""
    if not file.is_file():
        return False
    if file == item.source_file:
        return _is_readable(item)
    entry = manifest.files[file.name]
    if file.stat().st_size != entry.bytes:
        return False
    return entry.bytes > HASHED_BYTES or artifacts.sha256_file(file) == entry.sha256


def _is_readable(item: Item) -> bool:
    try:
        item.source()
    except ValueError:
        return False
    return True
