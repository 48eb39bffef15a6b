"""The stage: a prepared set and a base model become adapter checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config import Config
from understudy.console import Outcome, RunFailedError, Stopped, say
from understudy.models import weights
from understudy.records.checkpoints import Checkpoint
from understudy.train import checkpoint as checkpoints
from understudy.train.journal import Journal, State
from understudy.train.stop import Flag, stop_flag

FORMAT = 1
READS = ("model", "adapter", "optim", "schedule", "seed")
"""Beside these, the parts of `keep` and `eval` that change what lies in the run's folder."""
PREVIEW_CHARACTERS = 400


def locate(config: Config, prepared: Identity) -> tuple[Identity, Path]:
    """Identity and folder of the run that this config makes from a prepared set."""
    parts = {
        "keep": {"epochs": config.keep.epochs, "last": config.keep.last},
        "eval": {"every_steps": config.eval.every_steps, "sample_rows": config.eval.sample_rows},
    }
    made_of = Identity(
        stage="train",
        format=FORMAT,
        config={**parts, **{name: getattr(config, name) for name in READS}},
        inputs={"prepared": prepared.hash, "weights": weights.identity(config.model)},
    )
    return made_of, made_of.folder(config.paths.runs, f"{config.corpus}-{config.model.name}")


def run(config: Config, prepared: Identity, prepared_folder: Path) -> Outcome:
    """Train, or go on where an earlier run of the same config was stopped.

    Raises:
        UserError: the prepared set or the model cannot be used.
        RunFailedError: training went wrong; nothing that follows may take it for a result.
        Stopped: a signal came; the same command goes on from here.
    """
    made_of, folder = locate(config, prepared)
    manifest = folder / "manifest.json"
    with artifacts.exclusive(folder):
        if not config.fresh and artifacts.is_done(manifest, made_of):
            say(f"train: done already: {folder}")
            return Outcome(folder)
        if config.fresh:
            artifacts.clear(folder)
        journal = Journal(folder)
        journal.status(State.validating_files)
        try:
            with stop_flag() as stop:
                _train(config, made_of, folder, prepared_folder, stop)
        except Stopped:
            journal.status(State.queued)
            raise
        except BaseException as error:
            journal.status(State.failed, error=str(error))
            raise
        journal.status(State.succeeded)
        artifacts.seal(manifest, made_of, [f for f in folder.glob("*.*") if f.name != ".lock"])
    say(f"train: done: {folder}")
    return Outcome(folder)


def _train(
    config: Config, made_of: Identity, folder: Path, prepared_folder: Path, stop: Flag
) -> None:
    import torch

    from understudy.models.base import load_base
    from understudy.models.tokenizer import load_encoder
    from understudy.train import data, optimizer, plan
    from understudy.train.loop import Training, fit

    encoder = load_encoder(config.model)
    dataset = data.load(prepared_folder, encoder, config.model.context)
    steps = plan.plan(
        len(dataset.train), config.optim.rows_per_step, config.schedule.epochs, config.seed
    )
    _preview(dataset.train[0], encoder)
    start = checkpoints.newest(folder, made_of)
    _lay_out(folder, config, start)
    link = {"prepared": os.path.relpath(prepared_folder, folder)}
    artifacts.write_json(folder / "inputs.json", link)
    torch.manual_seed(config.seed)
    # Sums of floating point numbers must not depend on which thread came first.
    torch.use_deterministic_algorithms(mode=not torch.cuda.is_available())
    say(f"train: loading {config.model.name}")
    model = adapted(config, load_base(config.model, config.adapter))
    training = Training(
        config=config,
        identity=made_of,
        folder=folder,
        journal=Journal(folder),
        model=model,
        optimizer=optimizer.build(model, config.optim),
        data=dataset,
        steps=steps,
        pad_id=encoder.end_ids()[-1],
        stop=stop,
    )
    if start is not None:
        checkpoints.restore(start, model, training.optimizer)
        checkpoints.prune(folder, config.keep)
        say(f"train: going on after step {start.progress.step} of {len(steps)}")
    fit(training, start.progress if start else None)
    check_learned(model)


def adapted(config: Config, base: Any) -> Any:  # noqa: ANN401  # transformers has no types
    """The base with a new adapter, ready to train; says how much of it is trained."""
    from understudy.models import adapters

    model = adapters.attach(base, config.adapter)
    if config.memory.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        # Without it nothing below the frozen embedding would get a gradient.
        model.enable_input_require_grads()
    model.train()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    everything = sum(p.numel() for p in model.parameters())
    share = trained / everything
    say(f"train: {trained:,} of {everything:,} parameters are trained ({share:.2%})")
    return model


def check_learned(model: Any) -> None:  # noqa: ANN401
    """Refuse an adapter that does nothing: B starts at zero and must not have stayed there.

    Raises:
        RunFailedError: every B is zero or one is not finite.
    """
    ups = [p for name, p in model.named_parameters() if "lora_B" in name and p.requires_grad]
    if not any(bool(p.detach().abs().max() > 0) for p in ups):
        raise RunFailedError("the adapter is all zeros: nothing was learned. Raise optim.lr.")
    if not all(bool(p.detach().isfinite().all()) for p in ups):
        raise RunFailedError("the adapter holds values that are not finite. Lower optim.lr.")


def _lay_out(folder: Path, config: Config, start: Checkpoint | None) -> None:
    import yaml

    if start is None:
        for name in ("metrics", "timing", "scores", "events"):
            (folder / f"{name}.jsonl").unlink(missing_ok=True)
    else:
        Journal(folder).rewind(start.progress.step)
    text = yaml.safe_dump(artifacts.plain(config), sort_keys=False, allow_unicode=True)
    artifacts.write_atomic(folder / "config.yaml", text)
    Journal(folder).status(State.running)


def _preview(example: Any, encoder: Any) -> None:  # noqa: ANN401
    """Show the first row as the model will see it, what is learned between « and »."""
    from itertools import groupby

    pairs = zip(example.ids, example.labels, strict=True)
    parts = []
    for learned, group in groupby(pairs, key=lambda pair: pair[1] == pair[0]):
        text = encoder.tokenizer.decode([token for token, _ in group])
        parts.append(f"«{text}»" if learned else text)
    shown = "".join(parts).replace("\n", "↵")
    if len(shown) > PREVIEW_CHARACTERS:
        shown = f"{shown[:PREVIEW_CHARACTERS]}..."
    say(f"train: the first row, what is learned between « and »:\n  {shown}")
