"""The stage: a prepared set and a base model become checkpoints of what was learned."""

from __future__ import annotations

import os
from pathlib import Path

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config import Config
from understudy.console import Outcome, Stopped, say
from understudy.models import weights
from understudy.records.checkpoints import Checkpoint
from understudy.train import checkpoint as checkpoints
from understudy.train import plan
from understudy.train.journal import Journal, State
from understudy.train.stop import Flag, stop_flag
from understudy.train.training import Training

FORMAT = 2
READS = ("model", "adapter", "optim", "schedule", "seed")
"""Beside these, the parts of `keep` and `eval` that change what lies in the run's folder."""
KEEP_READ = ("epochs", "last", "best")
EVAL_READ = ("full", "every_steps", "sample_rows", "patience", "min_gain")


def locate(config: Config, prepared: Identity) -> tuple[Identity, Path]:
    """Identity and folder of the run that this config makes from a prepared set."""
    parts = {
        "keep": {name: getattr(config.keep, name) for name in KEEP_READ},
        "eval": {name: getattr(config.eval, name) for name in EVAL_READ},
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
            with stop_flag(lambda: journal.end(State.cancelled)) as stop:
                _train(config, made_of, folder, prepared_folder, stop)
        except Stopped:
            journal.end(State.queued)
            raise
        except BaseException as error:
            journal.end(State.failed, error=str(error))
            raise
        journal.status(State.succeeded)
        artifacts.seal(manifest, made_of, [f for f in folder.glob("*.*") if f.name != ".lock"])
    say(f"train: done: {folder}")
    return Outcome(folder)


def _train(
    config: Config, made_of: Identity, folder: Path, prepared_folder: Path, stop: Flag
) -> None:
    from understudy.models import learned
    from understudy.train import preflight, summary
    from understudy.train.loop import fit

    start = checkpoints.newest(folder, made_of)
    run = _ready(config, made_of, folder, prepared_folder, stop)
    _lay_out(run, prepared_folder, start)
    preflight.check(run)
    if start is not None:
        checkpoints.restore(run, start)
        checkpoints.prune(run)
        say(f"train: going on after step {start.progress.step} of {len(run.steps)}")
    end = fit(run, start.progress if start else None)
    learned.check(run.model)
    checkpoints.tidy(run)
    summary.write(run, end)


def _ready(
    config: Config, made_of: Identity, folder: Path, prepared_folder: Path, stop: Flag
) -> Training:
    """Data, model and optimiser, loaded and seeded, at the run's beginning."""
    import torch

    from understudy.models import learned
    from understudy.models.base import load_base
    from understudy.models.tokenizer import load_encoder
    from understudy.train import data, optimizer
    from understudy.train.precision import Precision
    from understudy.train.processes import Processes

    encoder = load_encoder(config.model)
    dataset = data.load(prepared_folder, encoder, config.model.context)
    supervised = [example.supervised for example in dataset.train]
    steps = plan.plan(supervised, config.optim, config.schedule.epochs, config.seed)
    data.preview(dataset.train[0], encoder)
    processes = Processes()
    torch.manual_seed(config.seed)
    # Sums of floating point numbers must not depend on which thread came first.
    torch.use_deterministic_algorithms(mode=not torch.cuda.is_available())
    say(f"train: loading {config.model.name}")
    base = load_base(config.model, config.adapter, config.memory)
    model = learned.attach(base, config.adapter)
    if config.memory.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        # Without it nothing below the frozen embedding would get a gradient.
        model.enable_input_require_grads()
    model.train()
    trained, everything = learned.count(model), sum(p.numel() for p in model.parameters())
    share = trained / everything
    say(f"train: {trained:,} of {everything:,} parameters are trained ({share:.2%})")
    optimizer.say_what_cannot_be(config.optim)
    return Training(
        config=config,
        identity=made_of,
        folder=folder,
        journal=Journal(folder, len(steps)),
        model=model,
        optimizer=optimizer.build(model, config),
        precision=Precision(config.model.dtype, model.device.type),
        processes=processes,
        encoder=encoder,
        data=dataset,
        steps=steps,
        stop=stop,
    )


def _lay_out(run: Training, prepared_folder: Path, start: Checkpoint | None) -> None:
    """Make the folder's files those of the step the run starts from."""
    import yaml

    if start is None:
        run.journal.begin()
        plan.write_down(run.folder, run.steps)
    else:
        plan.agree(run.folder, run.steps)
        run.journal.rewind(start.progress.step)
    link = {"prepared": os.path.relpath(prepared_folder, run.folder)}
    artifacts.write_json(run.folder / "inputs.json", link)
    text = yaml.safe_dump(artifacts.plain(run.config), sort_keys=False, allow_unicode=True)
    artifacts.write_atomic(run.folder / "config.yaml", text)
    run.journal.status(State.running)
