"""The stage: base and checkpoints continue the same prompts with the same decoders."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.chat.encoder import Encoder
from understudy.config import Config, stored
from understudy.config.model import ModelConfig
from understudy.console import Outcome, UserError, progress, say
from understudy.generate.decode import continue_batch, settings
from understudy.generate.prompts import Prompt, choose
from understudy.records import checkpoints, jsonl, rows
from understudy.records import samples as records
from understudy.records.checkpoints import Checkpoint
from understudy.records.samples import Sample

FORMAT = 1
READS = ("decoding", "checkpoints")


@dataclass(frozen=True, slots=True)
class Cell:
    """One batch of work: a checkpoint, a decoder, some prompts."""

    checkpoint: str
    decoder: str
    prompts: Sequence[Prompt]


def locate(config: Config, run: Identity) -> tuple[Identity, Path]:
    """Identity and folder of the samples that this config makes from a training run."""
    made_of = Identity(
        stage="generate",
        format=FORMAT,
        config={name: getattr(config, name) for name in READS},
        inputs={"run": run.hash},
    )
    return made_of, made_of.folder(config.paths.runs, f"{config.corpus}-{config.model.name}")


def run(config: Config, training: Identity, training_folder: Path) -> Outcome:
    """Make the samples that are missing.

    Raises:
        UserError: a checkpoint is not there, or nothing makes a prompt.
    """
    made_of, folder = locate(config, training)
    manifest = folder / "manifest.json"
    with artifacts.exclusive(folder):
        if not config.fresh and artifacts.is_done(manifest, made_of):
            say(f"generate: done already: {folder}")
            return Outcome(folder)
        if config.fresh:
            artifacts.clear(folder)
        try:
            chosen = checkpoints.named(training_folder, config.checkpoints)
        except ValueError as error:
            raise UserError(str(error)) from None
        _speak(config, training_folder, folder, chosen)
        artifacts.seal(manifest, made_of, [folder / "samples.jsonl", folder / "provenance.json"])
    say(f"generate: done: {folder}")
    return Outcome(folder)


def _speak(
    config: Config, training_folder: Path, folder: Path, chosen: dict[str, Checkpoint | None]
) -> None:
    from understudy.models.base import load_base
    from understudy.models.switchboard import Switchboard
    from understudy.models.tokenizer import load_encoder

    # The run's own model and template, whatever this command's config says of them.
    trained = stored.read(training_folder / "config.yaml")
    prepared = _prepared(training_folder)
    encoder = load_encoder(trained.model)
    _as_trained(prepared, trained.model, encoder)
    prompts = choose(
        rows.read(prepared / "valid.jsonl"),
        encoder,
        count=config.decoding.prompts,
        room=trained.model.context - config.decoding.max_new_tokens,
    )
    file = folder / "samples.jsonl"
    made = {sample.key: sample for sample in records.read(file)}
    jsonl.write(file, made.values())
    _write_provenance(folder, training_folder, prepared, trained, chosen)
    total = len(chosen) * len(config.decoding.decoders) * len(prompts)
    if made:
        say(f"generate: {len(made)} of {total} samples are there already")
    switchboard = Switchboard(load_base(trained.model, trained.adapter))
    for name, checkpoint in chosen.items():
        if checkpoint is not None:
            switchboard.add(name, checkpoint.folder)
    with progress("generate", total, "samples", done=len(made)) as bar:
        for cell in _cells(config, list(chosen), prompts):
            missing = [p for p in cell.prompts if _key(cell, p, config) not in made]
            if not missing:
                continue
            with switchboard.speaking(cell.checkpoint) as model:
                for sample in _samples(config, trained, cell, model, encoder):
                    if sample.key not in made:
                        jsonl.append(file, sample)
            bar.advance(len(missing), note=f"{cell.checkpoint} {cell.decoder}")


def _key(cell: Cell, prompt: Prompt, config: Config) -> tuple[str, str, str, int]:
    return (prompt.name, cell.checkpoint, cell.decoder, config.decoding.seed)


def _cells(config: Config, names: list[str], prompts: Sequence[Prompt]) -> Iterator[Cell]:
    """Prompts of like length together, so that little padding is computed."""
    ordered = sorted(prompts, key=lambda prompt: len(prompt.ids))
    size = config.decoding.batch
    for name in names:
        for decoder in config.decoding.decoders:
            for start in range(0, len(ordered), size):
                yield Cell(name, decoder, ordered[start : start + size])


def _samples(
    config: Config,
    trained: Config,
    cell: Cell,
    model: Any,  # noqa: ANN401  # transformers has no types
    encoder: Encoder,
) -> Iterator[Sample]:
    options = settings(
        config.decoding.decoders[cell.decoder],
        max_new_tokens=config.decoding.max_new_tokens,
        end_id=encoder.end_ids()[-1],
    )
    began = time.monotonic()
    said = continue_batch(model, [p.ids for p in cell.prompts], options, config.decoding.seed)
    seconds = (time.monotonic() - began) / len(cell.prompts)
    for prompt, continuation in zip(cell.prompts, said, strict=True):
        yield Sample(
            task=trained.task.name,
            prompt_id=prompt.name,
            prompt=[{"role": m.role, "content": m.content} for m in prompt.messages],
            reference=prompt.reference,
            checkpoint=cell.checkpoint,
            decoder=cell.decoder,
            seed=config.decoding.seed,
            text=encoder.text(continuation.ids),
            finish_reason=continuation.finish_reason,
            new_tokens=len(continuation.ids),
            seconds=round(seconds, 3),
        )


def _as_trained(prepared: Path, model: ModelConfig, encoder: Encoder) -> None:
    """Check that the model is spoken to with the template and the tokens it was trained with.

    Raises:
        UserError: they were changed since.
    """
    from understudy.models import weights

    manifest = artifacts.read_manifest(prepared / "manifest.json")
    if manifest is None:
        raise UserError(f"the prepared set {prepared}, which the run learned from, is gone.")
    now = {"template": encoder.dialect.hash, "tokenizer": weights.tokenizer_identity(model)}
    for what, value in now.items():
        if manifest.identity.inputs.get(what) != value:
            raise UserError(
                f"the {what} of {model.base} is not the one that the run was trained with "
                f"(model.dialect={encoder.dialect.name}): put it back, or train again."
            )


def _prepared(training_folder: Path) -> Path:
    """The prepared set that the run learned from."""
    link = json.loads((training_folder / "inputs.json").read_text(encoding="utf-8"))
    return (training_folder / str(link["prepared"])).resolve()


def _write_provenance(
    folder: Path,
    training_folder: Path,
    prepared: Path,
    trained: Config,
    chosen: dict[str, Checkpoint | None],
) -> None:
    """Where the samples come from, with paths relative to this folder: `runs/` can be moved."""
    artifacts.write_json(
        folder / "provenance.json",
        {
            "run": os.path.relpath(training_folder, folder),
            "prepared": os.path.relpath(prepared, folder),
            "corpus": trained.corpus,
            "model": trained.model.name,
            "task": trained.task.name,
            "checkpoints": {name: c.folder.name for name, c in chosen.items() if c is not None},
        },
    )
