"""What a stage needs from the ones before it, found by identity. Only doors use this."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config import Config
from understudy.console import Exit, UserError, say


@dataclass(frozen=True, slots=True)
class Made:
    """A finished thing that a later stage builds on."""

    folder: Path
    identity: Identity


def _finished(folder: Path) -> Made | None:
    manifest = artifacts.read_manifest(folder / "manifest.json")
    return None if manifest is None else Made(folder, manifest.identity)


def prepared(config: Config) -> Made:
    """The prepared set of this config; made by a child process where it is missing.

    Raises:
        UserError: it cannot be made; the child said why. Or it was changed after it was made.
    """
    from understudy.prepare.stage import is_made, locate

    identity, folder = locate(config)
    manifest = folder / "manifest.json"
    made = artifacts.is_done(manifest, identity) if config.fresh else is_made(folder, identity)
    if not made:
        say("the prepared set is missing: running python -m prepare with the same arguments")
        command = [sys.executable, "-m", "prepare", *sys.argv[1:]]
        code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        if code not in (Exit.DONE, Exit.IN_PART):
            raise UserError(f"python -m prepare ended with {code}: see its message above.")
    return Made(folder, identity)


def run_folder(config: Config) -> Path:
    """Where this config trains, whether anything is there or not.

    Raises:
        UserError: there is nothing to prepare, or it is not transcribed.
    """
    from understudy.prepare.stage import locate as locate_prepared
    from understudy.train.stage import locate as locate_run

    identity, _ = locate_prepared(config)
    _, folder = locate_run(config, identity)
    return folder


def training_run(config: Config) -> Made:
    """The finished training run that `run=` names, or that this config makes.

    Raises:
        UserError: it is not there or not finished; names the command.
    """
    folder = run_folder(config) if config.run is None else config.run
    found = _finished(folder)
    if found is None:
        raise UserError(
            f"there is no finished training run {folder}: run python -m train with the same "
            "arguments, or name another with run=<folder>."
        )
    return found


def samples(config: Config) -> Made:
    """The finished samples that `samples=` names, or that this config makes.

    Raises:
        UserError: they are not there or not finished; names the command.
    """
    from understudy.generate.stage import locate as locate_samples

    if config.samples is not None:
        folder = config.samples
    else:
        _, folder = locate_samples(config, training_run(config).identity)
    found = _finished(folder)
    if found is None:
        raise UserError(
            f"there are no finished samples in {folder}: run python -m generate with the same "
            "arguments, or name others with samples=<folder>."
        )
    return found
