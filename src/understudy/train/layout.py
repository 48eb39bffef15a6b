"""How the rows of a step are laid into forward passes: padded side by side, or packed.

What is learned does not depend on it: a step's gradient is that of a sum over its tokens, and
packed rows do not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from understudy.train.data import Example
from understudy.train.memory import MemoryPlan
from understudy.train.plan import Step

Line = Sequence[Example]
"""Rows end to end in one line of a batch; one row where nothing is packed."""


def lay_out(examples: Sequence[Example], memory: MemoryPlan, context: int) -> list[Sequence[Line]]:
    """The forward passes of one step, each up to `memory.micro_batch` lines of like length.

    Args:
        examples: The step's rows; each comes up exactly once.
        memory: How many lines a pass takes, and whether rows are packed.
        context: Most tokens in any line.
    """
    if memory.packing:
        lines = pack(examples, memory.line_tokens or context)
    else:
        lines = [[example] for example in examples]
    lines.sort(key=tokens)
    size = memory.micro_batch
    return [lines[start : start + size] for start in range(0, len(lines), size)]


def tokens(line: Line) -> int:
    """Tokens of all rows in a line."""
    return sum(len(example.ids) for example in line)


def pack(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """Rows into lines of `size` tokens, or of the longest row's where that is more.

    A line in the middle of a step gains nothing from being longer than the processor needs to be
    busy, and takes memory.
    """
    return first_fit_decreasing(examples, max(size, *(len(one.ids) for one in examples)))


def packing_note(steps: Sequence[Step], examples: Sequence[Example], capacity: int) -> str:
    """What packing comes to in the first epoch, for a person.

    Rows share a line only within a step: how full the lines are depends on how much makes a step.

    Args:
        steps: The plan.
        examples: The rows that its numbers mean.
        capacity: Tokens of a line.
    """
    rows = lines = used = 0
    for step in steps:
        if step.epoch > 1:
            break
        packed = pack([examples[row] for row in step.rows], capacity)
        rows += len(step.rows)
        lines += len(packed)
        used += sum(map(tokens, packed))
    note = (
        f"packing: {rows:,} rows in {lines:,} lines of up to {capacity:,} tokens, "
        f"{used / (lines * capacity):.0%} full"
    )
    if lines == rows:
        return (
            f"{note}: no two rows share a line, since rows are packed within a step only. Raise "
            "optim.rows_per_step, or set memory.packing=false"
        )
    return note


def first_fit_decreasing(examples: Sequence[Example], capacity: int) -> list[list[Example]]:
    """Rows into lines: the longest first, each into the first line with room for it.

    Takes at most 11/9 of the fewest lines possible, and 6/9 of a line (Dosa 2007, "The tight bound
    of first fit decreasing bin-packing algorithm").

    Raises:
        ValueError: a row is longer than a line.
    """
    lines: list[list[Example]] = []
    room: list[int] = []
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        length = len(example.ids)
        if length > capacity:
            raise ValueError(f"a row of {length:,} tokens fits no line of {capacity:,}.")
        place = next((i for i, free in enumerate(room) if free >= length), len(lines))
        if place == len(lines):
            lines.append([])
            room.append(capacity)
        lines[place].append(example)
        room[place] -= length
    return lines
