"""Checks that config dataclasses share: each says what was given, what is allowed, what to do."""

from __future__ import annotations


def within(key: str, value: float | None, low: float, high: float, *, unit: str = "") -> None:
    """Check that `value` lies in [low, high]; None means "not set" and passes.

    Raises:
        ValueError: naming the key as a person types it, the value given and the range.
    """
    if value is None or low <= value <= high:
        return
    unit = f" {unit}" if unit else ""
    raise ValueError(
        f"{key}={value:g} is out of range: give a value from {low:g} to {high:g}{unit}."
    )


def exclusive(**given: object) -> None:
    """Check that at most one of the keys is set (not None); `__` in a name stands for a dot.

    Raises:
        ValueError: naming the keys that exclude each other.
    """
    named = {key.replace("__", "."): value for key, value in given.items() if value is not None}
    if len(named) > 1:
        shown = " and ".join(f"{key}={value}" for key, value in named.items())
        raise ValueError(f"{shown} exclude each other: set one of them, and the others to null.")
