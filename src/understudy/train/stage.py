"""The stage: a prepared set and a base model become checkpoints of what was learned."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config import Config
from understudy.console import Outcome, Stopped, say, warn
from understudy.models import weights
from understudy.records.checkpoints import Checkpoint
from understudy.train import checkpoint as checkpoints
from understudy.train import full_disk, plan, rng, siblings
from understudy.train.journal import Journal, State
from understudy.train.processes import Processes
from understudy.train.stop import Flag, stop_flag
from understudy.train.training import Training, begin

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to be made, from what, where, and by whom."""

    config: Config
    identity: Identity
    folder: Path
    prepared: Path
    processes: Processes


def run(config: Config, prepared: Identity, prepared_folder: Path, processes: Processes) -> Outcome:
    """Train, or go on where an earlier run of the same config was stopped.

    Raises:
        UserError: the prepared set or the model cannot be used.
        RunFailedError: training went wrong; nothing that follows may take it for a result.
        Stopped: a signal came; the same command goes on from here.
    """
    made_of, folder = locate(config, prepared)
    job = Job(
        config=config,
        identity=made_of,
        folder=folder,
        prepared=prepared_folder,
        processes=processes,
    )
    if processes.first:
        with artifacts.exclusive(folder):
            _run(job)
    else:
        _run(job)
    return Outcome(folder)


def _run(job: Job) -> None:
    manifest = job.folder / "manifest.json"
    done = not job.config.fresh and artifacts.is_done(manifest, job.identity)
    job.processes.wait()
    if done:
        say(f"train: done already: {job.folder}")
        return
    _say_if_damaged(job, manifest)
    journal = Journal(job.folder, writes=job.processes.first)
    stopped = "training came to a stop"
    try:
        with full_disk.explained(job.folder, stopped), stop_flag(journal.cancel) as stop:
            if job.config.fresh and job.processes.first:
                artifacts.clear(job.folder)
            journal.status(State.validating_files)
            _train(job, journal, stop)
            journal.status(State.succeeded)
            if job.processes.first:
                found = (file for file in job.folder.glob("*.*") if file.is_file())
                files = [file for file in found if file.name != ".lock"]
                artifacts.seal(manifest, job.identity, files)
    except Stopped:
        journal.end(State.queued)
        raise
    except BaseException as error:
        journal.end(State.failed, error=str(error))
        raise
    say(f"train: done: {job.folder}")


def _say_if_damaged(job: Job, manifest: Path) -> None:
    found = artifacts.read_manifest(manifest)
    fault = None if found is None else artifacts.damage(manifest, found)
    if fault and job.processes.first and not job.config.fresh:
        warn(f"{job.folder} was done, but {fault}: it goes on from its last checkpoint")


def _train(job: Job, journal: Journal, stop: Flag) -> None:
    from understudy.models import learned
    from understudy.train import preflight, summary
    from understudy.train.loop import fit

    job.processes.wait()
    start = checkpoints.newest(job.folder, job.identity)
    if start is None and job.processes.first and not job.config.fresh:
        siblings.tell(job.folder, job.identity, job.prepared)
    run = _ready(job, journal, stop)
    _lay_out(run, job.prepared, start)
    run = preflight.check(run)
    run.journal.status(State.running)
    if start is not None:
        checkpoints.restore(run, start)
        job.processes.wait()
        checkpoints.prune(run, beyond=start.progress.step)
        going_on = f"going on after step {start.progress.step} of {len(run.steps)}"
        run.journal.message(going_on)
        say(f"train: {going_on}")
    end = fit(run, start.progress if start else None)
    learned.check(run.model)
    checkpoints.tidy(run)
    summary.write(run, end)


def _ready(job: Job, journal: Journal, stop: Flag) -> Training:
    """Data, model and optimiser, loaded and seeded, at the run's beginning."""
    import torch

    from understudy.models import learned
    from understudy.models.base import load_base
    from understudy.models.tokenizer import load_encoder
    from understudy.train import budget, data, optimizer, preflight

    config = job.config
    encoder = load_encoder(config.model)
    dataset = data.load(job.prepared, encoder, config.model.context)
    supervised = [example.supervised for example in dataset.train]
    steps = plan.plan(supervised, config.optim, config.schedule.epochs, config.seed)
    journal.steps = len(steps)
    preflight.agree(config, dataset)
    data.preview(dataset.train[0], encoder)
    budget.hold(config.memory)
    torch.manual_seed(config.seed)
    rng.repeatable()
    say(f"train: loading {config.model.name}")
    base = load_base(config.model, config.adapter, config.memory)
    if config.memory.fused and torch.cuda.is_available():
        from understudy.kernels import fused

        say(f"train: {fused.put_on(base)}")
    model = learned.attach(base, config.adapter)
    if not job.processes.first:
        # All begin with the same weights; what they drop out must differ.
        rng.seed(config.seed, job.processes.rank)
    trained, everything = learned.count(model), sum(p.numel() for p in model.parameters())
    share = trained / everything
    say(f"train: {trained:,} of {everything:,} parameters are trained ({share:.2%})")
    optimizer.say_what_cannot_be(config.optim)
    return begin(
        config,
        model,
        identity=job.identity,
        folder=job.folder,
        encoder=encoder,
        data=dataset,
        steps=steps,
        journal=journal,
        processes=job.processes,
        stop=stop,
    )


def _lay_out(run: Training, prepared_folder: Path, start: Checkpoint | None) -> None:
    """Make the folder's files those of the step the run starts from."""
    import yaml

    if start is None:
        run.journal.begin()
        if run.processes.first:
            plan.write_down(run.folder, run.steps)
    else:
        plan.agree(run.folder, run.steps)
        run.journal.rewind(start.progress.step)
    if not run.processes.first:
        return
    (run.folder / "manifest.json").unlink(missing_ok=True)
    link = {"prepared": os.path.relpath(prepared_folder, run.folder)}
    artifacts.write_json(run.folder / "inputs.json", link)
    text = yaml.safe_dump(artifacts.plain(run.config), sort_keys=False, allow_unicode=True)
    artifacts.write_atomic(run.folder / "config.yaml", text)
