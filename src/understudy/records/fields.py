"""Fields of a row that a person wrote: each is there and a text, or the row says what it lacks."""

from __future__ import annotations

from typing import Any


def text(record: dict[str, Any], name: str) -> str:
    """The text of a field that must be there.

    Raises:
        ValueError: it is missing, null, empty or no text; names the fields that are there.
    """
    found = optional(record, name)
    if not found:
        raise ValueError(f"{_lack(record, name)}: the row has {', '.join(record) or 'no field'}")
    return found


def optional(record: dict[str, Any], name: str) -> str:
    """The text of a field that may be missing, null or empty: then it is empty.

    Raises:
        ValueError: it is there and no text.
    """
    value = record.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is no text but {kind(value)}")
    return (value or "").strip()


def _lack(record: dict[str, Any], name: str) -> str:
    if name not in record:
        return f"no {name}"
    return f"{name} is null" if record[name] is None else f"{name} is empty"


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def provenance(record: dict[str, Any]) -> dict[str, Any]:
    """Category, creator and licence of a row, where it has them.

    Raises:
        ValueError: one of them is no text.
    """
    return {name: optional(record, name) or None for name in ("category", "creator", "licence")}
