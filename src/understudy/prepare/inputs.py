"""What prepare reads: the items of the corpus that have a transcript, and their identities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from understudy import artifacts
from understudy.config import Config
from understudy.console import UserError
from understudy.records.item import Item, items

READ_FILES = ("source.json", "transcript.json", "voices.npz")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Usable items, and those that an earlier stage could not do, with the reason."""

    items: list[Item]
    failed: dict[str, str]
    register: Path
    """`speakers.json` of the corpus."""

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file that is read, by its path within the corpus."""
        files = [item.folder / name for item in self.items for name in READ_FILES]
        files.append(self.register)
        return {
            file.relative_to(self.register.parent).as_posix(): artifacts.sha256_file(file)
            for file in files
            if file.exists()
        }


def find(config: Config) -> Inputs:
    """The corpus as it lies on disk.

    Raises:
        UserError: there is no corpus, or items are not transcribed yet; names the command to run.
    """
    folder = config.corpus_folder
    found = items(folder)
    if not found:
        raise UserError(
            f"there is no corpus {config.corpus} in {config.paths.data}: collect it first, with "
            f"python -m collect corpus={config.corpus} source.path=<folder> or the same "
            "+experiment=<name>."
        )
    failed: dict[str, str] = {}
    usable: list[Item] = []
    waiting: list[str] = []
    for item in found:
        reason = item.failure("transcribe")
        if item.transcript_file.exists():
            usable.append(item)
        elif reason is not None:
            failed[item.name] = reason
        else:
            waiting.append(item.name)
    if waiting:
        raise UserError(
            f"{len(waiting)} of {len(found)} items have no transcript yet ({', '.join(waiting[:3])}"
            f"{', ...' if len(waiting) > 3 else ''}): run python -m transcribe with the same "  # noqa: PLR2004
            "arguments first."
        )
    return Inputs(items=usable, failed=failed, register=folder / "speakers.json")
