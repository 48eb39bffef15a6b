"""The parts in their order."""

from __future__ import annotations

from typing import Any

from card.parts import Parts, Work, say
from card.suite import run_tests
from card.trial import Trial


def do_all(parts: Parts, trial: Trial, *, rehearse: bool, without_tests: bool) -> None:
    """The parts, each with the seconds it needs at least and may take at most."""

    def tests(limit: float) -> dict[str, Any]:
        return run_tests(trial.size, trial.folder, limit, rehearse=rehearse)

    def weights(limit: float) -> dict[str, Any]:
        return trial.write(limit, rehearse=rehearse)

    def take(name: str, work: Work, least: float, most: float, needs: str | None = None) -> None:
        parts.take(name, work, least=least, most=most * trial.size.slack, needs=needs)

    if without_tests:
        say("tests: LEFT OUT: not asked for")
    else:
        take("tests", tests, 60, 150)
    take("weights", weights, 30, 100)
    take("train and kill", trial.train_and_kill, 60, 150, "weights")
    take("resume and stop", trial.resume_and_stop, 40, 110, "train and kill")
    take("end", trial.end, 40, 110, "resume and stop")
