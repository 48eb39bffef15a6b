"""OpenAI's chat fine-tuning format: one line's messages, checked with exact reasons."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.records import fields
from understudy.records.rows import Message

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""Roles of the format, and what they are here."""

TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
"""How Qwen2.5's template, and Hermes before it, tells a model of its tools."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """A line's messages, as they are written to a template."""

    system: str | None
    messages: tuple[Message, ...]
    notes: Counter[str] = field(default_factory=Counter)
    """What was rewritten, counted by what."""


def parse(record: dict[str, Any], *, train_users: bool, honour_weights: bool) -> Talk:
    """The messages of a line, each with its weight.

    Tools, and calls of them, become text as Qwen2.5's and Hermes' templates write them, since a
    message here is text. System messages are put together in front.

    Args:
        record: The line.
        train_users: User messages without a weight of their own are learned too.
        honour_weights: Use `weight` where it is given; otherwise every assistant message is 1.

    Raises:
        ValueError: the line is not of this format; says which message, and why.
    """
    listed = _listed(record)
    notes: Counter[str] = Counter()
    messages: list[Message] = []
    for number, message in enumerate(listed, start=1):
        try:
            messages.append(_message(message, notes, users=train_users, honour=honour_weights))
        except ValueError as error:
            raise ValueError(f"message {number}: {error}") from None
    _check_system(messages, notes)
    system = [message.content for message in messages if message.role == "system"]
    tools = _tools(record, notes)
    spoken = tuple(message for message in messages if message.role != "system")
    if not spoken:
        raise ValueError("an empty conversation: there are only system messages")
    if not any(message.weight for message in spoken):
        raise ValueError("nothing to learn: no message has weight 1")
    text = "\n\n".join(part for part in (*system, tools) if part)
    return Talk(system=text or None, messages=spoken, notes=notes)


def _listed(record: dict[str, Any]) -> list[Any]:
    if "messages" not in record:
        raise ValueError(f"no messages: the row has {', '.join(record) or 'no field'}")
    listed = record["messages"]
    if not isinstance(listed, list):
        raise ValueError(f"messages is {fields.kind(listed)}, not a list")  # noqa: TRY004
    if not listed:
        raise ValueError("an empty conversation: messages is []")
    return listed


def _message(message: Any, notes: Counter[str], *, users: bool, honour: bool) -> Message:  # noqa: ANN401  # any JSON value
    if not isinstance(message, dict):
        raise ValueError(f"it is {fields.kind(message)}, not an object")  # noqa: TRY004
    if "role" not in message:
        raise ValueError("no role")
    role = message["role"]
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"role {json.dumps(role)} is none of {', '.join(ROLES)}")
    weight = _weight(message, role)
    name = message.get("name")
    if name is not None and not isinstance(name, str):
        raise ValueError(f"name is {fields.kind(name)}, not a text")
    content = _content(message, role, notes)
    if not content:
        notes["messages without text"] += 1
    usual = int(role == "assistant" or (users and role == "user"))
    return Message(
        role=ROLES[role],
        content=content,
        weight=weight if weight is not None and honour else usual,
        name=name,
    )


def _weight(message: dict[str, Any], role: str) -> int | None:
    weight = message.get("weight")
    if weight is None and "weight" in message:
        raise ValueError("weight is null: give 0 or 1, or leave it out")
    if weight is None:
        return None
    if isinstance(weight, bool) or weight not in (0, 1):
        raise ValueError(f"weight {json.dumps(weight)} is neither 0 nor 1")
    if weight == 1 and role not in ("assistant", "user"):
        raise ValueError(f"weight 1 on a message of role {role}, which nobody says")
    return int(weight)


def _content(message: dict[str, Any], role: str, notes: Counter[str]) -> str:
    calls = _calls(message, notes) if role == "assistant" else []
    content = message.get("content")
    if content is None and not calls:
        said = "content is null" if "content" in message else "no content"
        raise ValueError(said)
    text = _text(content)
    return "\n".join(part for part in (text, *calls) if part)


def _text(content: Any) -> str:  # noqa: ANN401  # any JSON value
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ValueError(f"content is {fields.kind(content)}, not a text")  # noqa: TRY004
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else fields.kind(part)
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"content has a part of type {kind}: only text can be learned")
        texts.append(part["text"])
    return "\n".join(texts)


def _calls(message: dict[str, Any], notes: Counter[str]) -> list[str]:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise ValueError(f"tool_calls is {fields.kind(calls)}, not a list")  # noqa: TRY004
    functions = [call.get("function") if isinstance(call, dict) else None for call in calls]
    if message.get("function_call") is not None:
        functions.append(message["function_call"])
    written = [_call(function) for function in functions]
    if written:
        notes["tool calls written as text"] += len(written)
    return written


def _call(function: Any) -> str:  # noqa: ANN401  # any JSON value
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError("a tool call without the name of its function")  # noqa: TRY004
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except json.JSONDecodeError:
            raise ValueError(
                f"the arguments of the call of {function['name']} are not JSON"
            ) from None
    call = {"name": function["name"], "arguments": arguments}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


def _tools(record: dict[str, Any], notes: Counter[str]) -> str | None:
    tools = record.get("tools")
    if tools is None:
        functions = record.get("functions")
        tools = [{"type": "function", "function": f} for f in functions or []]
    if not isinstance(tools, list):
        raise ValueError(f"tools is {fields.kind(tools)}, not a list")  # noqa: TRY004
    if not tools:
        return None
    notes["tools written into the system message"] += len(tools)
    listed = "".join(f"\n{json.dumps(tool, ensure_ascii=False)}" for tool in tools)
    return f"{TOOLS_HEAD}{listed}{TOOLS_TAIL}"


def _check_system(messages: Sequence[Message], notes: Counter[str]) -> None:
    spoken_yet = False
    late = 0
    for message in messages:
        late += spoken_yet and message.role == "system"
        spoken_yet = spoken_yet or message.role != "system"
    if late:
        notes["system messages moved to the front"] += late
