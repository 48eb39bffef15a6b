"""The page itself: one file that opens offline and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from understudy.compare import curves as drawing
from understudy.compare import talks as arranging
from understudy.compare.cells import Cell
from understudy.compare.curves import Measure, Picture
from understudy.compare.figures import Figures
from understudy.compare.inputs import Inputs
from understudy.compare.numbers import MISSING, decimals, duration, moved, number, percent
from understudy.compare.quality import HeldOut, Quality, change
from understudy.records.checkpoints import BASE

LIMIT_BYTES = 5_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The finished page."""

    html: str
    notes: Sequence[str]
    """What had to be left out to keep it small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityRow:
    """A speaker or an item, base against tuned."""

    name: str
    base: Quality | None
    tuned: Quality | None
    change: float | None
    base_bar: float
    """Length of a bar, 0 to 100."""
    tuned_bar: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRow:
    """An item the data came from."""

    item: str
    split: str
    category: str | None
    licence: str | None


def page(inputs: Inputs, figures: Figures, identity: str) -> Page:
    """Render the page; where it gets too large, without the word differences.

    Args:
        inputs: What the runs wrote.
        figures: What was worked out from it.
        identity: Hash of the page's own identity, shown at its foot.
    """
    context = _context(inputs, figures, identity)
    html = _render({**context, "talks": _talks(inputs, figures, differences=True)})
    if len(html.encode()) <= LIMIT_BYTES:
        return Page(html=html, notes=())
    note = "The word differences against base are left out: with them the page is over 5 MB."
    context["notes"] = [*figures.notes, note]
    html = _render({**context, "talks": _talks(inputs, figures, differences=False)})
    size = len(html.encode())
    more = [f"the page has {size / 1e6:.1f} MB even so."] if size > LIMIT_BYTES else []
    return Page(html=html, notes=[note, *more])


def _talks(inputs: Inputs, figures: Figures, *, differences: bool) -> list[arranging.Talk]:
    return arranging.talks(
        inputs.samples, figures.checkpoints, inputs.valid_rows, differences=differences
    )


def _context(inputs: Inputs, figures: Figures, identity: str) -> dict[str, Any]:
    held_out = figures.held_out
    return {
        "figures": figures,
        "inputs": inputs,
        "identity": identity,
        "notes": figures.notes,
        "pictures": _pictures(inputs),
        "by_speaker": _quality_rows(held_out, held_out.by_speaker if held_out else {}),
        "by_item": _quality_rows(held_out, held_out.by_item if held_out else {}),
        "decoders": list(dict.fromkeys(sample.decoder for sample in inputs.samples)),
        "cells": _by_decoder(figures.cells),
        "sources": _sources(inputs),
    }


def _pictures(inputs: Inputs) -> list[Picture]:
    found = [drawing.curves(inputs.metrics, measure) for measure in Measure]
    return [drawing.picture(curves) for curves in found if not curves.empty]


def _quality_rows(
    held_out: HeldOut | None, groups: Mapping[str, Mapping[str, Quality]]
) -> list[QualityRow]:
    if held_out is None or held_out.best is None:
        return []
    pairs = [(name, found.get(BASE), found.get(held_out.best)) for name, found in groups.items()]
    longest = max((q.loss for _, *pair in pairs for q in pair if q is not None), default=0) or 1
    return [
        QualityRow(
            name=name,
            base=base,
            tuned=tuned,
            change=change(base, tuned),
            base_bar=100 * base.loss / longest if base else 0,
            tuned_bar=100 * tuned.loss / longest if tuned else 0,
        )
        for name, base, tuned in pairs
    ]


def _by_decoder(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.decoder, []).append(cell)
    return groups


def _sources(inputs: Inputs) -> list[SourceRow]:
    found: dict[str, SourceRow] = {}
    for split, rows in (("train", inputs.trained_rows), ("valid", inputs.valid_rows)):
        for row in rows:
            meta = row.meta
            found[meta.item] = SourceRow(
                item=meta.item, split=split, category=meta.category, licence=meta.licence
            )
    return [found[name] for name in sorted(found)]


def _render(context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=number, percent=percent, moved=moved, decimals=decimals, duration=duration
    )
    style, script = _asset("page.css"), _asset("page.js")
    return environment.from_string(_asset("page.html")).render(
        **context,
        # Markup: these two are our own files, not data.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        policy=policy(style, script),
        missing=MISSING,
    )


def policy(style: str, script: str) -> str:
    """The page's content security policy: its own style and script, by hash, and nothing else."""
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (resources.files("understudy.compare") / name).read_text(encoding="utf-8")
