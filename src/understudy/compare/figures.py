"""Everything that was worked out from the inputs: what the page shows and metrics.json holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.compare import cells, headline, ledger, quality
from understudy.compare.cells import Cell
from understudy.compare.headline import Verdict
from understudy.compare.inputs import Inputs
from understudy.compare.ledger import Account
from understudy.compare.quality import HeldOut, Quality
from understudy.records.checkpoints import BASE


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What the runs come to."""

    title: str
    headline: str
    verdict: Verdict
    remarks: Sequence[str]
    """How to read the headline."""
    held_out: HeldOut | None
    checkpoints: Sequence[str]
    """Those with samples, the base first."""
    cells: Sequence[Cell]
    reference: Cell | None
    account: Account | None
    trained_tokens: int | None
    """Supervised tokens seen, every epoch counted."""
    seconds: float | None
    """Time spent in training steps."""
    peak_memory_bytes: float | None
    epochs: float | None
    notes: Sequence[str]
    problems: Sequence[str]


def figures(inputs: Inputs, title: str | None) -> Figures:
    """Work everything out."""
    held_out = quality.held_out(inputs.scores) or quality.from_metrics(inputs.metrics)
    names = [sample.checkpoint for sample in inputs.samples]
    checkpoints = cells.order(names, inputs.provenance.checkpoints)
    account, problems = _account(inputs)
    source = inputs.provenance
    return Figures(
        title=title or f"{source.corpus} on {source.model}",
        headline=headline.headline(held_out),
        verdict=headline.verdict(held_out),
        remarks=[*headline.remarks(held_out), *_others_speak(held_out, checkpoints)],
        held_out=held_out,
        checkpoints=checkpoints,
        cells=cells.cells(inputs.samples, checkpoints),
        reference=cells.reference_cell(inputs.samples),
        account=account,
        trained_tokens=_last(inputs, "tokens"),
        seconds=sum(line.get("seconds", 0.0) for line in inputs.timing) or None,
        peak_memory_bytes=max((t.get("peak_memory_bytes", 0) for t in inputs.timing), default=0)
        or None,
        epochs=max((line["epoch"] for line in inputs.metrics if "epoch" in line), default=None),
        notes=inputs.remarks,
        problems=[*inputs.problems, *problems, *_incomparable(held_out)],
    )


def _others_speak(held_out: HeldOut | None, checkpoints: Sequence[str]) -> list[str]:
    tuned = [name for name in checkpoints if name != BASE]
    if held_out is None or held_out.best is None or held_out.best in tuned or not tuned:
        return []
    return [f"The samples below are by {', '.join(tuned)}, not by {held_out.best}."]


def _account(inputs: Inputs) -> tuple[Account | None, list[str]]:
    if inputs.ledger is None:
        return None, []
    try:
        account = ledger.account(inputs.ledger)
    except ValueError as error:
        return None, [f"ledger.json left out: {error}"]
    if account.missing:
        return account, [f"The ledger does not add up: {account.missing:,} words unaccounted for"]
    return account, []


def _last(inputs: Inputs, key: str) -> int | None:
    values = [line[key] for line in inputs.metrics if key in line]
    return int(max(values)) if values else None


def _incomparable(held_out: HeldOut | None) -> list[str]:
    return [
        f"{name} was scored on other held-out tokens than the base model, and is left out"
        for name in (held_out.incomparable if held_out else ())
    ]


def record(figures: Figures, inputs: Inputs) -> dict[str, object]:
    """`metrics.json`: the same figures for other programs. Unknown ones are null."""
    held_out = figures.held_out
    return {
        "corpus": inputs.provenance.corpus,
        "model": inputs.provenance.model,
        "task": inputs.provenance.task,
        "headline": figures.headline,
        "verdict": figures.verdict,
        "held_out": None
        if held_out is None
        else {
            "best": held_out.best,
            "last": held_out.last,
            "loss_change": held_out.change,
            "checkpoints": _qualities(held_out.checkpoints),
            "by_speaker": {n: _qualities(q) for n, q in held_out.by_speaker.items()},
            "by_item": {n: _qualities(q) for n, q in held_out.by_item.items()},
        },
        "samples": figures.cells,
        "reference": figures.reference,
        "words": figures.account,
        "trained_tokens": figures.trained_tokens,
        "adapter_parameters": inputs.adapter_parameters,
        "seconds": figures.seconds,
        "peak_memory_bytes": figures.peak_memory_bytes,
        "epochs": figures.epochs,
        "notes": figures.notes,
        "problems": figures.problems,
        "folders": inputs.folders,
        "sha256": inputs.digests,
    }


def _qualities(qualities: object) -> dict[str, object]:
    assert hasattr(qualities, "items")
    return {
        name: {
            "loss": quality.loss,
            "perplexity": quality.perplexity,
            "token_accuracy": quality.accuracy,
            "tokens": quality.tokens,
        }
        for name, quality in qualities.items()
        if isinstance(quality, Quality)
    }
