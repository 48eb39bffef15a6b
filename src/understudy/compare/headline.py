"""The answer to "is it better?" in words."""

from __future__ import annotations

from enum import Enum

from understudy.compare.numbers import percent
from understudy.compare.quality import HeldOut, Quality

SAME_WITHIN = 0.01
"""A relative change of the loss below this is called no difference."""


class Verdict(Enum):
    """What the held-out loss says."""

    better = "better"
    same = "same"
    worse = "worse"
    unknown = "unknown"


def verdict(held_out: HeldOut | None) -> Verdict:
    """Better or worse than the base model, by held-out loss."""
    change = None if held_out is None else held_out.change
    if change is None:
        return Verdict.unknown
    if abs(change) < SAME_WITHIN:
        return Verdict.same
    return Verdict.better if change < 0 else Verdict.worse


def headline(held_out: HeldOut | None) -> str:
    """One sentence with the figures, as plain when training did harm as when it helped."""
    if held_out is None:
        return "Nothing was scored on held-out talk, so there is no figure for better or worse."
    base, tuned, change = held_out.base, held_out.tuned, held_out.change
    if base is None or tuned is None or change is None:
        scored = ", ".join(f"{name} {q.loss:.2f}" for name, q in held_out.checkpoints.items())
        return f"Only one side was scored on held-out talk (loss: {scored}): no comparison yet."
    # No line breaks inside the pair of figures.
    figures = f"Held-out loss {base.loss:.2f}\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}{tuned.loss:.2f}"
    moved = percent(abs(change))
    direction = "lower" if change < 0 else "higher"
    if verdict(held_out) is Verdict.same:
        return f"{figures}: no real difference from the base model ({moved} {direction})."
    return f"{figures}: {moved} {direction} than the base model."


def remarks(held_out: HeldOut | None) -> list[str]:
    """What a person should know to read the headline right."""
    if held_out is None or held_out.base is None or held_out.tuned is None:
        return []
    said = {
        Verdict.worse: "Training made the model worse at talk it had not seen.",
        Verdict.same: "Whatever it learned does not show on talk it had not seen.",
    }
    lines = [said[verdict(held_out)]] if verdict(held_out) in said else []
    lines += [_spread(held_out)] if held_out.by_item else []
    choices = len(held_out.checkpoints) - 1
    if choices > 1:
        lines.append(
            f"“Tuned” is {held_out.best}, the best of {choices} checkpoints, "
            "chosen on these same held-out rows, which flatters it a little."
        )
    last = held_out.checkpoints.get(held_out.last or "")
    if last is not None and held_out.last != held_out.best:
        lines.append(_went_past(held_out, last))
    return lines


def _spread(held_out: HeldOut) -> str:
    pairs = [
        (rows["base"], rows[held_out.best])
        for rows in held_out.by_item.values()
        if held_out.best is not None and "base" in rows and held_out.best in rows
    ]
    better = sum(tuned.loss < base.loss for base, tuned in pairs)
    noun = "item" if len(pairs) == 1 else "items"
    return f"The loss is lower on {better} of {len(pairs)} held-out {noun}."


def _went_past(held_out: HeldOut, last: Quality) -> str:
    return (
        f"The last checkpoint, {held_out.last}, is at {last.loss:.2f}: "
        f"training past {held_out.best} did not help."
    )
