"""What prepare reads: items of one or several corpora, and files of rows, with their identities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.config import Config
from understudy.console import UserError
from understudy.records import jsonl, table
from understudy.records.item import Item, items
from understudy.records.jsonl import BadLine
from understudy.tasks import Task

TRANSCRIPT = "transcript.json"
ASIDE = ("source.json", "voices.npz")
"""Item files that alone are nothing to learn from."""
REGISTER = "speakers.json"
READERS: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any] | BadLine]]]] = {
    ".jsonl": jsonl.numbered,
    ".ndjson": jsonl.numbered,
    ".json": jsonl.numbered,
    ".csv": table.numbered,
    ".tsv": table.numbered,
}
SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """One corpus folder: usable items, and those an earlier stage could not do, with the reason."""

    name: str
    folder: Path
    items: list[Item] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFile:
    """A CSV or JSONL file with one example a line."""

    path: Path
    side: str | None = None
    """`valid` for a file that is held out whole."""

    def read(self) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
        """Each line's number and record."""
        return READERS[self.path.suffix.lower()](self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Everything that goes into a prepared set."""

    corpora: list[Corpus]
    files: list[RowFile]
    item_files: tuple[str, ...]
    """Glob patterns of the files of an item that the task reads."""

    @property
    def items(self) -> int:
        """Usable items of all corpora."""
        return sum(len(corpus.items) for corpus in self.corpora)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file that is read, by corpus and its path within."""
        several = len(self.corpora) > 1
        found = {}
        for corpus in self.corpora:
            folders = [item.folder for item in corpus.items]
            files = [f for folder in folders for p in self.item_files for f in folder.glob(p)]
            for file in [*sorted(set(files)), corpus.folder / REGISTER]:
                if file.is_file():
                    name = file.relative_to(corpus.folder).as_posix()
                    key = f"{corpus.name}/{name}" if several else name
                    found[key] = artifacts.sha256_file(file)
        for rows in self.files:
            found[f"{rows.side or 'rows'}:{rows.path.name}"] = artifacts.sha256_file(rows.path)
        return found


def find(config: Config, task: Task) -> Inputs:
    """What there is on disk for this config.

    Raises:
        UserError: there is nothing to read, or items are not transcribed; names what to do.
    """
    files = _files(config, task)
    names = list(config.weights) or [config.corpus]
    corpora = []
    if task.from_item is not None:
        for name in names:
            folder = config.paths.data / name
            found = items(folder)
            if found:
                corpora.append(_corpus(name, folder, found, task.item_files))
            elif config.weights or not files:
                raise UserError(_missing(config, name, task))
    elif not files:
        raise UserError(
            f"task={task.name} reads rows, and task.rows is null: name a CSV or JSONL file with "
            "task.rows=<file>."
        )
    return Inputs(corpora=corpora, files=files, item_files=task.item_files)


def _missing(config: Config, name: str, task: Task) -> str:
    rows = ", or name a file with task.rows=<file>" if task.from_row is not None else ""
    return (
        f"there is no corpus {name} in {config.paths.data}: collect it first, with "
        f"python -m collect corpus={name} source.path=<folder> or the same "
        f"+experiment=<name>{rows}."
    )


def _files(config: Config, task: Task) -> list[RowFile]:
    given = {"rows": config.task.rows, "valid_rows": config.task.valid_rows}
    found = []
    for key, path in given.items():
        if path is None:
            continue
        if task.from_row is None:
            raise UserError(f"task.{key}={path}: task={task.name} reads items of a corpus only.")
        if path.suffix.lower() not in READERS:
            raise UserError(f"task.{key}={path}: give a file named {', '.join(READERS)}.")
        if not path.is_file():
            raise UserError(f"task.{key}={path}: there is no such file.")
        found.append(RowFile(path=path, side="valid" if key == "valid_rows" else None))
    return found


def _corpus(name: str, folder: Path, found: list[Item], patterns: tuple[str, ...]) -> Corpus:
    """Sort a corpus's items into usable and failed.

    Raises:
        UserError: items wait to be transcribed.
    """
    content = [pattern for pattern in patterns if pattern not in ASIDE]
    corpus = Corpus(name=name, folder=folder)
    waiting: list[str] = []
    for item in found:
        reason = item.failure("transcribe")
        if TRANSCRIPT not in content or any(any(item.folder.glob(p)) for p in content):
            corpus.items.append(item)
        elif reason is not None:
            corpus.failed[item.name] = reason
        else:
            waiting.append(item.name)
    if waiting:
        raise UserError(
            f"{len(waiting)} of {len(found)} items have no transcript yet "
            f"({', '.join(waiting[:SHOWN])}{', ...' if len(waiting) > SHOWN else ''}): run "
            "python -m transcribe with the same arguments first."
        )
    return corpus
