"""Numbers as a person reads them."""

from __future__ import annotations

MISSING = "–"  # noqa: RUF001  # a dash for "not known"
SMALL = 100
"""Below this many seconds or minutes, the next larger unit would be too coarse."""
NARROW = "\u202f"
"""The space before a unit: narrow, and no line is broken there."""


def number(value: float | None) -> str:
    """A whole number with commas: `12,345`."""
    return MISSING if value is None else f"{value:,.0f}"


def decimals(value: float | None, places: int = 2) -> str:
    """A number with as many decimals: `2.02`."""
    return MISSING if value is None else f"{value:,.{places}f}"


def percent(value: float | None, places: int = 1) -> str:
    """A share as `53.2 %`."""
    return MISSING if value is None else f"{100 * value:.{places}f}{NARROW}%"


def moved(value: float | None) -> str:
    """A relative change as `−22.6 %`, with a true minus sign."""  # noqa: RUF002
    if value is None:
        return MISSING
    sign = "−" if value < 0 else "+"  # noqa: RUF001
    return f"{sign}{abs(100 * value):.1f}{NARROW}%"


def duration(seconds: float | None) -> str:
    """`48 s`, `12 min`, `3 h 05 min`."""
    if seconds is None:
        return MISSING
    if seconds < SMALL:
        return f"{seconds:.0f}{NARROW}s"
    minutes = round(seconds / 60)
    if minutes < SMALL:
        return f"{minutes}{NARROW}min"
    return f"{minutes // 60}{NARROW}h {minutes % 60:02d}{NARROW}min"
