"""What there is to do: the items of a corpus sorted by what lies in them already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from understudy import artifacts
from understudy.artifacts import Identity, Manifest
from understudy.console import UserError
from understudy.records.item import Item

SHOWN = 5
"""Items that a message names before it only counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """An item to transcribe."""

    item: Item
    media: Path
    identity: Identity
    before: Manifest | None
    """Manifest of an earlier transcript, of whatever identity."""


@dataclass(slots=True)
class Plan:
    """The items of a corpus, by what is to be done with them."""

    todo: list[Job] = field(default_factory=list)
    done: list[Item] = field(default_factory=list)
    imported: list[Item] = field(default_factory=list)
    """Their transcripts came with them and stay as they are."""
    silent: list[Item] = field(default_factory=list)
    """Neither audio nor transcript."""


def make(items: list[Item], identity: Callable[[str], Identity], *, fresh: bool) -> Plan:
    """Sort items; nothing is written.

    Args:
        items: The corpus.
        identity: From the SHA-256 of an item's audio to its transcript's identity.
        fresh: Transcribe even what is done.

    Raises:
        UserError: transcripts of other settings lie there, and `fresh` is not given.
    """
    plan = Plan()
    others: list[Job] = []
    for item in items:
        media = item.media_file
        collected = artifacts.read_manifest(item.manifest_file("collect"))
        if collected is not None and item.transcript_file.name in collected.files:
            plan.imported.append(item)
            continue
        if media is None:
            plan.silent.append(item)
            continue
        made_of = identity(_sha256(media, collected))
        before = artifacts.read_manifest(item.manifest_file("transcribe"))
        if not fresh and artifacts.is_done(item.manifest_file("transcribe"), made_of):
            plan.done.append(item)
            continue
        job = Job(item=item, media=media, identity=made_of, before=before)
        plan.todo.append(job)
        if before is not None and _settings(before.identity) != _settings(made_of):
            others.append(job)
    if others and not fresh:
        raise _refusal(others)
    return plan


def _sha256(media: Path, collected: Manifest | None) -> str:
    """As `collect` wrote it down, or read again where it did not or the file has another size."""
    entry = collected.files.get(media.name) if collected is not None else None
    if entry is not None and entry.bytes == media.stat().st_size:
        return entry.sha256
    return artifacts.sha256_file(media)


def _settings(identity: Identity) -> str:
    return artifacts.fingerprint([identity.format, identity.config])


def _refusal(others: list[Job]) -> UserError:
    before, wanted = others[0].before, others[0].identity
    assert before is not None
    found = before.identity
    changes = differences(artifacts.plain(found.config), artifacts.plain(wanted.config))
    if found.format != wanted.format:
        changes.append(f"format {found.format} -> {wanted.format}")
    return UserError(
        f"{len(others)} item(s) were transcribed with other settings "
        f"({names([job.item for job in others])}): {', '.join(changes)}. Give "
        "the settings they were made with, or fresh=true to transcribe again; the old transcripts "
        "are kept beside the new ones."
    )


def names(items: list[Item]) -> str:
    """The first few names of items, and how many more there are."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(item.name for item in items[:SHOWN]) + more


def differences(old: object, new: object, key: str = "") -> list[str]:
    """What changed between two nested mappings: `asr.size tiny.en -> large-v3`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for name in sorted({*old, *new})
            for change in differences(
                old.get(name), new.get(name), f"{key}.{name}" if key else name
            )
        ]
    return [] if old == new else [f"{key} {old} -> {new}"]
