"""What the runs wrote down, read tolerantly: what cannot be read is counted and said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from understudy import artifacts
from understudy.compare import adapter
from understudy.compare.quality import UNNAMED, Score
from understudy.console import UserError
from understudy.records import jsonl, rows
from understudy.records.rows import Row
from understudy.records.samples import Sample

T = TypeVar("T")
COMMAND = "`python -m generate` and the same settings"
FINISHED = "succeeded"
"""The `state` in `status.json` of a run that came to its end."""


UNHASHED = frozenset(("provenance.json", "status.json"))
"""Read for what they say; their bytes hold paths and times, which change nothing here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """`provenance.json` of the samples: what spoke."""

    corpus: str
    model: str
    task: str
    checkpoints: Mapping[str, str]
    """Checkpoint folder (`step-000040`) by the name used in the samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Everything the page is made from."""

    samples: Sequence[Sample]
    provenance: Provenance
    metrics: Sequence[Mapping[str, float]]
    """Finite numbers only, each line with a `step`."""
    timing: Sequence[Mapping[str, float]]
    scores: Sequence[Score]
    state: str | None
    """Of the training run; None: not known."""
    config_text: str | None
    """The run's `config.yaml`."""
    ledger: Mapping[str, Any] | None
    trained_rows: Sequence[Row]
    valid_rows: Sequence[Row]
    adapter_parameters: int | None
    folders: Mapping[str, str]
    """Identity of each folder that was read, by stage: the hash in its manifest."""
    digests: Mapping[str, str]
    """SHA-256 of the files that were read, by name."""
    problems: Sequence[str]
    """What was lost on the way: the page is made in part."""
    remarks: Sequence[str]
    """What is not there, or not yet; nothing is wrong with it."""

    @property
    def identities(self) -> dict[str, str]:
        """What a page made from these inputs depends on, by name."""
        spoken = artifacts.fingerprint(self.provenance)
        known = {"state": str(self.state), "parameters": str(self.adapter_parameters)}
        return {**self.digests, **self.folders, **known, "provenance": spoken}


def shown(path: Path) -> str:
    """A path below `runs/`, the same on every machine: `train/<name>/metrics.jsonl`."""
    return Path(*path.parts[-3:]).as_posix()


@dataclass(kw_only=True, slots=True)
class _Reader:
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    def folder(self, folder: Path | None, what: str) -> Path | None:
        """The folder if it is there, else a remark and None."""
        if folder is None or folder.is_dir():
            return folder
        self.remarks.append(f"The {what} {shown(folder)} is not there any more.")
        return None

    def open(self, folder: Path | None, name: str, without: str) -> Path | None:
        """The file if it is there, its digest noted; else a remark on what goes `without` it."""
        if folder is None:
            return None
        path = folder / name
        if not path.is_file():
            self.remarks.append(f"{shown(path)} is missing: {without}.")
            return None
        if name not in UNHASHED:
            self.digests[name] = artifacts.sha256_file(path)
        return path

    def lines(self, path: Path | None, parse: Callable[[dict[str, Any]], T]) -> list[T]:
        """Every line that `parse` takes; the others are named as problems."""
        found: list[T] = []
        for number, record in enumerate(jsonl.read(path) if path else (), start=1):
            if isinstance(record, jsonl.BadLine):
                place = f"{shown(record.path)}: line {record.line}"
                self.problems.append(f"{place} left out: {record.reason}")
                continue
            try:
                found.append(parse(record))
            except (KeyError, TypeError, ValueError) as error:
                reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
                assert path is not None
                self.problems.append(f"{shown(path)}: record {number} left out: {reason}")
        return found

    def object(self, path: Path | None) -> dict[str, Any] | None:
        """A JSON object; a damaged file is a problem and counts as absent."""
        if path is None:
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            self.problems.append(f"{shown(path)} left out: not JSON ({error})")
            return None
        if not isinstance(record, dict):
            self.problems.append(f"{shown(path)} left out: not a JSON object")
            return None
        return record

    def rows(self, path: Path | None) -> list[Row]:
        """Rows of a prepared set; a damaged file is a problem and counts as empty."""
        try:
            return rows.read(path) if path else []
        except ValueError as error:
            self.problems.append(f"left out: {error}")
            return []


def origins(samples: Path) -> tuple[Path | None, Path | None]:
    """The training run and the prepared set that samples came from, as they say themselves.

    Their paths are relative to the samples' own folder, so that `runs/` can be moved.
    """
    path = samples / "provenance.json"
    record = _Reader().object(path if path.is_file() else None) or {}
    run, prepared = (
        (samples / str(record[name])).resolve() if record.get(name) else None
        for name in ("run", "prepared")
    )
    return run, prepared


def read(samples: Path, run: Path | None, prepared: Path | None) -> Inputs:
    """Read what generate, train and prepare wrote.

    Args:
        samples: Folder with `samples.jsonl`.
        run: The training run's folder; None where nothing was trained.
        prepared: The prepared set's folder, where it is known.

    Raises:
        UserError: there are no samples, or none is whole.
    """
    reader = _Reader()
    run, prepared = reader.folder(run, "training run"), reader.folder(prepared, "prepared set")
    said = _samples(samples, reader)
    provenance = reader.object(reader.open(samples, "provenance.json", "corpus and model unnamed"))
    metrics = reader.lines(reader.open(run, "metrics.jsonl", "no curves"), _numbers)
    scores = reader.lines(reader.open(run, "scores.jsonl", "nothing by speaker and item"), _score)
    timing = reader.lines(reader.open(run, "timing.jsonl", "no times"), _numbers)
    status = reader.object(reader.open(run, "status.json", "the run's state is not known"))
    config = reader.open(run, "config.yaml", "the run's config is not shown")
    ledger = reader.object(reader.open(prepared, "ledger.json", "no word ledger"))
    trained = reader.open(prepared, "train.jsonl", "rows cannot be counted")
    valid = reader.open(prepared, "valid.jsonl", "speakers of the prompts are not named")
    _not_finite(run, metrics, reader)
    if run is None:
        reader.remarks.append("There is no training run to read: no curves, no losses.")
    return Inputs(
        samples=said,
        provenance=_provenance(provenance or {}, said),
        metrics=[_finite(line) for line in metrics],
        timing=[_finite(line) for line in timing],
        scores=scores,
        state=_state(status, reader),
        config_text=config.read_text(encoding="utf-8", errors="replace") if config else None,
        ledger=ledger,
        trained_rows=reader.rows(trained),
        valid_rows=reader.rows(valid),
        adapter_parameters=adapter.parameters(run) if run else None,
        folders=_folders({"generate": samples, "train": run, "prepare": prepared}),
        digests=reader.digests,
        problems=reader.problems,
        remarks=reader.remarks,
    )


def _samples(folder: Path, reader: _Reader) -> list[Sample]:
    file = folder / "samples.jsonl"
    if not file.is_file():
        raise UserError(f"no samples in {folder}: make them first with {COMMAND}.")
    found = reader.lines(reader.open(folder, file.name, ""), _sample)
    if not found:
        lost = f" ({len(reader.problems)} lines cannot be read)" if reader.problems else ""
        raise UserError(f"{file} holds no whole sample{lost}: make some with {COMMAND}.")
    if not (folder / "manifest.json").is_file():
        reader.remarks.append("The samples are not finished: these are the ones so far.")
    return _once(found, reader)


def _sample(record: dict[str, Any]) -> Sample:
    sample = Sample(**record)
    names = ("task", "prompt_id", "checkpoint", "decoder", "text", "finish_reason")
    wrong = [name for name in names if not isinstance(getattr(sample, name), str)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: not text")
    if sample.reference is not None and not isinstance(sample.reference, str):
        raise ValueError("reference: not text")
    for message in sample.prompt:
        if not isinstance(message["role"], str) or not isinstance(message["content"], str):
            raise ValueError("prompt: not messages")  # noqa: TRY004  # the file is wrong, not a type
    return sample


def _once(samples: list[Sample], reader: _Reader) -> list[Sample]:
    first: dict[tuple[str, str, str, int], Sample] = {}
    for sample in samples:
        first.setdefault(sample.key, sample)
    if again := len(samples) - len(first):
        verb = "sample is" if again == 1 else "samples are"
        reader.remarks.append(f"{again} {verb} there twice: the first of each is shown.")
    return list(first.values())


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in record.items() if isinstance(value, (int, float))}
    if not math.isfinite(numbers["step"]):
        raise ValueError("step: not a finite number")
    return numbers


def _finite(line: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in line.items() if math.isfinite(value)}


def _not_finite(run: Path | None, metrics: Sequence[Mapping[str, float]], reader: _Reader) -> None:
    values = [value for line in metrics for value in line.values()]
    count = sum(not math.isfinite(value) for value in values)
    if count and run is not None:
        reader.problems.append(
            f"{shown(run / 'metrics.jsonl')}: {count} values are not finite numbers: the training "
            "diverged there, and the curves leave them out"
        )


def _score(record: dict[str, Any]) -> Score:
    score = Score(
        checkpoint=str(record["checkpoint"]),
        step=int(record["step"]),
        item=str(record["item"]),
        speaker=str(record["speaker"] or UNNAMED),
        loss=float(record["loss"]),
        correct=float(record["correct"]),
        tokens=int(record["tokens"]),
    )
    if score.tokens < 0 or not math.isfinite(score.loss) or not math.isfinite(score.correct):
        raise ValueError("loss, correct and tokens have to be finite sums")
    return score


def _provenance(record: Mapping[str, Any], samples: Sequence[Sample]) -> Provenance:
    checkpoints = record.get("checkpoints")
    return Provenance(
        corpus=str(record.get("corpus") or "corpus"),
        model=str(record.get("model") or "model"),
        task=str(record.get("task") or samples[0].task),
        checkpoints={str(name): str(step) for name, step in checkpoints.items()}
        if isinstance(checkpoints, dict)
        else {},
    )


def _state(status: Mapping[str, Any] | None, reader: _Reader) -> str | None:
    state = None if status is None else str(status.get("state"))
    if state not in (None, FINISHED):
        reader.remarks.append(
            f"The training run is not finished (its state: {state}): these are its figures so far."
        )
    return state


def _folders(folders: Mapping[str, Path | None]) -> dict[str, str]:
    found = {}
    for stage, folder in folders.items():
        manifest = artifacts.read_manifest(folder / "manifest.json") if folder else None
        if folder is not None:
            found[stage] = manifest.identity.hash if manifest else "not sealed yet"
    return found
