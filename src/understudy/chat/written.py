"""Messages as a template can write them: roles folded, neighbours joined, system text placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from understudy.chat.dialect import Dialect, System
from understudy.records.rows import Message

JOINT = "\n\n"
SYSTEM_FOLDED = "system texts written into a user turn"
JOINED = "neighbouring turns of one role joined"
WEIGHTS_DIFFER = "joined turns of different weight: read, not learned"
EMPTY_USER = "empty user turns put before an assistant's first"
TOOL_FOLDED = "tool results written as user turns"
NAME_FOLDED = "names written into the text"

SAME_ROLE = {"developer": "system", "function": "tool"}
"""Roles of OpenAI's format that mean another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written(Message):
    """A message in its place in a row."""

    system: str | None = None
    """System text that is written before the text, never trained."""
    first: bool = False
    """Opens the row: what the dialect writes only there comes with it."""
    last: bool = False
    """Ends a whole row (not a prompt)."""


def write(
    messages: Sequence[Message], dialect: Dialect, notes: Counter[str], *, whole: bool
) -> list[Written]:
    """The messages as the dialect writes them; never raises, counts what it had to change.

    Messages that were written already come out as they went in.

    Args:
        messages: A row or the beginning of one.
        dialect: Whose rules hold.
        notes: Counts of what was done, by what; added to.
        whole: A finished row, not a prompt.
    """
    out = [known(message, dialect, notes) for message in messages]
    systems: list[str] = []
    if dialect.system is System.role:
        if dialect.default_system is not None and not (out and out[0].role == "system"):
            out.insert(0, Written(role="system", content=dialect.default_system, weight=0))
    else:
        systems = [one.content for one in out if one.role == "system"]
        out = [one for one in out if one.role != "system"]
    if dialect.alternates:
        out = _alternating(out, notes)
    if systems:
        out = _folded(out, JOINT.join(text for text in systems if text), dialect, notes)
    if out:
        out[0] = replace(out[0], first=True)
        out[-1] = replace(out[-1], last=whole)
    return out


def known(message: Message, dialect: Dialect, notes: Counter[str]) -> Written:
    """The message in a role that the dialect has, a name it has no place for in the text."""
    role = SAME_ROLE.get(message.role, message.role)
    content, name = message.content, message.name
    if role == "tool" and role not in dialect.turns:
        notes[TOOL_FOLDED] += 1
        content = f"Result of {name or 'a tool'}:\n{content}"
        role = "user"
    elif name:
        notes[NAME_FOLDED] += 1
        content = f"{name}: {content}"
    system = message.system if isinstance(message, Written) else None
    return Written(role=role, content=content, weight=message.weight, system=system)


def _alternating(messages: Sequence[Written], notes: Counter[str]) -> list[Written]:
    out: list[Written] = []
    for message in messages:
        if out and out[-1].role == message.role:
            notes[JOINED] += 1
            out[-1] = _joined(out[-1], message, notes)
        else:
            out.append(message)
    if not out or out[0].role == "assistant":
        notes[EMPTY_USER] += 1
        out.insert(0, Written(role="user", content="", weight=0))
    return out


def _joined(earlier: Written, later: Written, notes: Counter[str]) -> Written:
    notes[WEIGHTS_DIFFER] += earlier.weight != later.weight
    content = JOINT.join(text for text in (earlier.content, later.content) if text)
    weight = min(earlier.weight, later.weight)
    return replace(earlier, content=content, weight=weight)


def _folded(
    messages: Sequence[Written], text: str, dialect: Dialect, notes: Counter[str]
) -> list[Written]:
    if not text and not dialect.system_frame[0]:
        return list(messages)
    users = [place for place, one in enumerate(messages) if one.role == "user"]
    place = users[-1] if dialect.system is System.last_user else users[0]
    out = list(messages)
    out[place] = replace(out[place], system=text)
    notes[SYSTEM_FOLDED] += 1
    return out
