"""Messages: OpenAI chat JSONL as it is. A file that OpenAI accepts trains here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from understudy.config.task import TaskConfig
from understudy.records import fields, openai
from understudy.records.conversation import Conversation, Spoken


@dataclass(frozen=True, kw_only=True, slots=True)
class MessagesConfig(TaskConfig):
    """Which messages are learned. `system` is put where a row has no system message."""

    train_users: bool = False
    """Learn user messages too, except those of weight 0."""
    honour_weights: bool = True
    """Use each message's `weight`; false: learn every assistant message whatever it says."""


CONFIG = MessagesConfig
ITEM_FILES: tuple[str, ...] = ()


def from_row(record: dict[str, Any], config: MessagesConfig) -> Iterator[Conversation]:
    """One line is one conversation.

    Raises:
        ValueError: it is not of the format; says which message, and why.
    """
    talk = openai.parse(
        record, train_users=config.train_users, honour_weights=config.honour_weights
    )
    known = fields.provenance(record)
    meta = record.get("meta")
    if isinstance(meta, dict):
        inner = fields.provenance(meta)
        known = {name: known[name] or inner[name] for name in known}
    yield Conversation(
        system=talk.system or config.system,
        spoken=tuple(Spoken(message=message) for message in talk.messages),
        notes=talk.notes,
        **known,
    )
