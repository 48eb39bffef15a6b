"""A swept key: its values, in order, and how they lie on an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.sweep.job import Job, swept

DECADE = 10
"""Values that span as much are drawn on a logarithmic axis."""
SEED = "seed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """A key and the values that the jobs have, as they were typed."""

    name: str
    values: tuple[str, ...]
    """Numbers in their order, other values as they came."""

    @property
    def numeric(self) -> bool:
        """Whether all its values are numbers."""
        return all(_number(value) is not None for value in self.values)

    @property
    def logarithmic(self) -> bool:
        """Whether its values span a decade or more."""
        if not self.numeric:
            return False
        low, high = self.position(self.values[0]), self.position(self.values[-1])
        return low > 0 and high / low >= DECADE

    def position(self, value: str) -> float:
        """Where a value lies: at itself, or at its place in the list."""
        number = _number(value) if self.numeric else None
        return float(self.values.index(value)) if number is None else number


def axes(jobs: Sequence[Job]) -> list[Axis]:
    """The swept keys, in the order they were typed; seeds, which repeat the rest, come last."""
    names = sorted(swept(jobs), key=lambda name: name == SEED)
    return [_axis(name, jobs) for name in names]


def _axis(name: str, jobs: Sequence[Job]) -> Axis:
    values = tuple(dict.fromkeys(job.values.get(name, "") for job in jobs))
    axis = Axis(name=name, values=values)
    if axis.numeric:
        values = tuple(sorted(values, key=axis.position))
    return Axis(name=name, values=values)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def across(axes: Sequence[Axis]) -> Axis | None:
    """The axis that a picture is drawn over: the first of numbers, else the first."""
    drawn = [axis for axis in axes if axis.name != SEED] or list(axes)
    numeric = [axis for axis in drawn if axis.numeric]
    return next(iter([*numeric, *drawn]), None)
