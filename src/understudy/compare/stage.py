"""Compare: from samples and what the runs wrote down to one page. No model is loaded."""

from __future__ import annotations

import re
from pathlib import Path

from understudy import artifacts
from understudy.compare import figures as worked_out
from understudy.compare import inputs as written
from understudy.compare import page
from understudy.compare.figures import Figures
from understudy.compare.inputs import Inputs
from understudy.config import Config
from understudy.console import Exit, Outcome, UserError, say, warn

FORMAT = 1
READS: tuple[str, ...] = ("report",)


def run(
    config: Config, samples_folder: Path, run_folder: Path | None, prepared_folder: Path | None
) -> Outcome:
    """Make `runs/compare/<corpus>-<model>-<hash8>/`: `report.html`, `metrics.json`.

    Args:
        config: Its `report` node is read, and where runs lie.
        samples_folder: What `generate` made.
        run_folder: The training run; None: samples of a base model alone.
        prepared_folder: The prepared set; None: no word ledger.

    Raises:
        UserError: there are no samples.
    """
    inputs = written.read(samples_folder, run_folder, prepared_folder)
    identity = artifacts.Identity(
        stage="compare",
        format=FORMAT,
        config={name: getattr(config, name) for name in READS},
        inputs=inputs.identities,
    )
    folder = identity.folder(config.paths.runs, _name(inputs))
    report = folder / "report.html"
    figures = worked_out.figures(inputs, config.report.title)
    _say_notes(figures)
    outcome = Outcome(report, Exit.IN_PART if figures.problems else Exit.DONE)
    if not config.fresh and artifacts.is_done(folder / "manifest.json", identity):
        say(f"compare: done already. {figures.headline}")
        return outcome
    with artifacts.exclusive(folder):
        artifacts.clear(folder)
        _make(folder, identity, inputs, figures)
    say(f"compare: {figures.headline}")
    return outcome


def _name(inputs: Inputs) -> str:
    name = f"{inputs.provenance.corpus}-{inputs.provenance.model}"
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise UserError(
            f"provenance.json names corpus and model {name!r}, which is no folder name: "
            "use letters, digits, '-', '_' and '.'."
        )
    return name


def _say_notes(figures: Figures) -> None:
    for note in figures.notes:
        say(f"compare: {note}")
    for problem in figures.problems:
        warn(problem)
    if figures.problems:
        warn("the page is made in part: see above what is left out.")


def _make(folder: Path, identity: artifacts.Identity, inputs: Inputs, figures: Figures) -> None:
    decoders = list(dict.fromkeys(sample.decoder for sample in inputs.samples))
    say(
        f"compare: {len(inputs.samples)} samples of {', '.join(figures.checkpoints)} "
        f"with {', '.join(decoders)}."
    )
    metrics, report = folder / "metrics.json", folder / "report.html"
    artifacts.write_json(metrics, worked_out.record(figures, inputs))
    made = page.page(inputs, figures, identity.hash)
    for note in made.notes:
        warn(note)
    artifacts.write_atomic(report, made.html)
    artifacts.seal(folder / "manifest.json", identity, [metrics, report])
