"""Reads the inputs one after the other: an item or a line at a time, never the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from understudy.config import Config
from understudy.prepare.inputs import REGISTER, Corpus, Inputs, RowFile
from understudy.prepare.unread import NOTE, Watched
from understudy.records import voices
from understudy.records.conversation import Conversation
from understudy.records.item import Item
from understudy.records.jsonl import BadLine
from understudy.tasks import Reading, Task

IDS = ("id", "item")
"""Columns of a row file that name the item a row belongs to."""


@dataclass(frozen=True, slots=True)
class Read:
    """The conversations of one item, or of one line."""

    corpus: str
    item: str
    talks: list[Conversation]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """An item or a line that cannot be used."""

    source: str
    """The item's name, or the file's."""
    line: int | None
    """Counted from 1; None for an item."""
    reason: str

    def record(self) -> dict[str, Any]:
        """As `rejected.jsonl` has it."""
        line = {} if self.line is None else {"line": self.line}
        return {"source": self.source, **line, "reason": self.reason}


def read(config: Config, task: Task, inputs: Inputs) -> Iterator[Read | Rejected]:
    """Every item and line, in order: corpora as they were named, then the files of rows."""
    for corpus in inputs.corpora:
        yield from _corpus(config, task, corpus)
    for file in inputs.files:
        yield from _file(config, task, file)


def _corpus(config: Config, task: Task, corpus: Corpus) -> Iterator[Read | Rejected]:
    assert task.from_item is not None
    register = voices.read_register(corpus.folder / REGISTER)
    reading = Reading(register=register, voices=config.voices)
    for name, reason in corpus.failed.items():
        yield Rejected(source=name, line=None, reason=f"transcribe: {reason}")
    for item in corpus.items:
        yield _item(config, task, reading, corpus.name, item)


def _item(config: Config, task: Task, reading: Reading, corpus: str, item: Item) -> Read | Rejected:
    assert task.from_item is not None
    try:
        talks = list(task.from_item(item, reading, config.task))
    except ValueError as error:
        return Rejected(source=item.name, line=None, reason=str(error))
    return _checked(Read(corpus, item.name, talks), item.name, None)


def _file(config: Config, task: Task, file: RowFile) -> Iterator[Read | Rejected]:
    assert task.from_row is not None
    name = file.path.name
    for line, record in file.read():
        if isinstance(record, BadLine):
            yield Rejected(source=name, line=line, reason=record.reason)
            continue
        row = Watched(record)
        item = next((str(row[key]) for key in IDS if row.get(key)), None)
        try:
            talks = list(task.from_row(row, config.task))
        except ValueError as error:
            yield Rejected(source=name, line=line, reason=str(error))
            continue
        if file.side:
            talks = [replace(talk, side=file.side) for talk in talks]
        if talks:
            unread = Counter(f"{NOTE}: {field}" for field in row.unread())
            talks[0] = replace(talks[0], notes=talks[0].notes + unread)
        found = Read(config.corpus, item or f"{file.path.stem}:{line}", talks)
        yield _checked(found, name, line)


def _checked(found: Read, source: str, line: int | None) -> Read | Rejected:
    if any(talk.spoken for talk in found.talks):
        return found
    return Rejected(source=source, line=line, reason="nothing is said in it")
