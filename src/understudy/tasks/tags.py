"""Tags: a description in, its list of tags out."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from understudy.config.task import TaskConfig
from understudy.records import fields
from understudy.records.conversation import Conversation, GivesWay, Spoken
from understudy.records.rows import Message


class Form(Enum):
    """How the tags are written."""

    comma = "comma"
    """`piano, slow, 70 bpm`."""
    json = "json"
    """`{"tags": ["piano", "slow", "70 bpm"]}`."""


FORMS = {
    Form.comma: "a list separated by commas",
    Form.json: 'JSON of the form {"tags": ["...", "..."]}',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TagsConfig(TaskConfig):
    """How tags are asked for and written."""

    system: str | None = "Give the tags of the description, and nothing else, as {form}."
    """System message; `{form}` in it becomes the form of the answer in words. null for none."""
    form: Form = Form.comma
    """The answer as a comma list or as json."""
    description_column: str = "description"
    """The field that holds the description."""
    tags_column: str = "tags"
    """The field that holds the tags: a JSON list, or a text with commas or semicolons."""


CONFIG = TagsConfig
ITEM_FILES: tuple[str, ...] = ()

REPEATED = "tags that stand in the list already"


def from_row(record: dict[str, Any], config: TagsConfig) -> Iterator[Conversation]:
    """One row is one description with its tags. The description gives way, the tags never.

    Raises:
        ValueError: description or tags are missing, or a tag cannot be written in this form.
    """
    description = fields.text(record, config.description_column)
    found = parse(record, config.tags_column)
    known = dict.fromkeys(tag.casefold() for tag in found)
    first = {tag.casefold(): tag for tag in reversed(found)}
    tags = [first[key] for key in known]
    repeated = sum(len(tag.split()) for tag in found) - sum(len(tag.split()) for tag in tags)
    yield Conversation(
        system=config.system.replace("{form}", FORMS[config.form]) if config.system else None,
        spoken=(
            Spoken(message=Message(role="user", content=description, weight=0)),
            Spoken(message=Message(role="assistant", content=written(tags, config.form))),
        ),
        asked=Counter({REPEATED: repeated} if repeated else {}),
        gives_way=GivesWay.body,
        body=(0, len(description)),
        **fields.provenance(record),
    )


def parse(record: dict[str, Any], name: str) -> list[str]:
    """The tags of a row, in order, repeated ones included.

    Raises:
        ValueError: there are none, or one of them is no text.
    """
    value = record.get(name)
    listed = value if isinstance(value, list) else _split(fields.text(record, name))
    tags = []
    for tag in listed:
        if not isinstance(tag, str) or not tag.strip():
            raise ValueError(f"{name} holds {fields.kind(tag) if tag != '' else 'an empty tag'}")
        tags.append(" ".join(tag.split()))
    if not tags:
        raise ValueError(f"{name} is empty")
    return tags


def _split(text: str) -> list[Any]:
    """A list that was written as text: as JSON, as Python shows it, or with commas."""
    if text.startswith("[") and text.endswith("]"):
        try:
            return list(json.loads(text))
        except json.JSONDecodeError:
            pass
        try:
            return list(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            text = text[1:-1]
    mark = ";" if ";" in text and "," not in text else ","
    return [part for part in text.split(mark) if part.strip()]


def written(tags: list[str], form: Form) -> str:
    """The answer.

    Raises:
        ValueError: a comma inside a tag, which a comma list cannot tell from two tags.
    """
    if form is Form.json:
        return json.dumps({"tags": tags}, ensure_ascii=False)
    torn = [tag for tag in tags if "," in tag]
    if torn:
        raise ValueError(f"the tag {torn[0]!r} holds a comma: use task.form=json")
    return ", ".join(tags)
