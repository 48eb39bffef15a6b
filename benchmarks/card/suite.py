"""The tests marked `gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from surroundings import REPOSITORY

from card.child import Child
from card.codes import DONE
from card.parts import PartFailedError
from card.size import Size

REHEARSAL = "UNDERSTUDY_GPU_REHEARSAL"
"""Environment: the tests marked `gpu` run on the CPU."""


def run_tests(size: Size, folder: Path, limit: float, *, rehearse: bool) -> dict[str, Any]:
    """The tests marked `gpu`; none may fail, and on a GPU none may be skipped.

    A rehearsal leaves out what is compiled for a card.
    """
    report = folder / "tests.xml"
    child = Child.python(
        [
            "-c",
            # Each test's name and outcome goes to stderr, where it is passed on as it comes.
            "import os, sys, pytest; os.dup2(2, 1); sys.exit(pytest.main(sys.argv[1:]))",
            *("-v", "-m", size.tests, "-p", "no:cacheprovider", "--durations=5"),
            *(f"--junitxml={report}", str(REPOSITORY / "tests" / "gpu")),
        ],
        REPOSITORY,
        **({REHEARSAL: "1"} if rehearse else {}),
    )
    try:
        code = child.wait(limit)
    finally:
        child.kill()
    if not report.exists():
        last = " / ".join(line for _, line in child.lines[-3:])
        raise PartFailedError(f"pytest ended with {code}: {last}")
    figures = outcomes(report)
    skipped = bool(figures["skipped"]) and not rehearse
    if code != DONE or skipped or not figures["tests"]:
        bad = ", ".join(figures["failed"] + figures["skipped"]) or "no test was found"
        raise PartFailedError(f"{len(figures['failed'])} of {figures['tests']} failed: {bad}")
    return figures


def outcomes(report: Path) -> dict[str, Any]:
    """Which tests failed and which were skipped, from pytest's XML."""
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  # pytest wrote it

    def having(*kinds: str) -> list[str]:
        return [
            str(case.get("name"))
            for case in cases
            if any(case.find(kind) is not None for kind in kinds)
        ]

    return {
        "tests": len(cases),
        "failed": having("failure", "error"),
        "skipped": having("skipped"),
    }
