"""What has to hold on a GPU, in one call of under 8 minutes, without a network: `make gpu`.

First the tests marked `gpu`. Then Mistral-7B's architecture with random weights, in 4 bits with
LoRA r=16 on all linear layers, held to 24 GiB: through the real door it trains rows of 4096 tokens,
saves, is killed, goes on by the same command, is asked to stop, and ends.

Each part has a time limit; the others go on where one fails. What there was no time for is said.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --rehearse     # the same on a CPU, with a tiny model
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from card.child import apart
from card.codes import STOPPED, WRONG
from card.machine import machine
from card.model import random_model
from card.order import do_all
from card.parts import PartFailedError, Parts, say
from card.result import Result
from card.size import FULL, REHEARSED
from card.trial import Trial

RESULTS = Path(__file__).resolve().parent / "results"
MINUTES = 7.5


def main() -> None:
    """Do all parts, write the result, print it as the last line."""
    given = arguments()
    if given.part:
        print(json.dumps(one_part(*given.part)))
        return
    # By an exception, so that what was started is ended too.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(STOPPED))
    with tempfile.TemporaryDirectory(prefix="understudy-gpu-") as folder:
        sys.exit(measure(given, Path(folder)))


def arguments() -> argparse.Namespace:
    """What the person asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with a tiny model")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"time for everything ({MINUTES:g})"
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="folder for the result's file (benchmarks/results; a rehearsal writes none)",
    )
    parser.add_argument("--without-tests", action="store_true", help="leave the tests out")
    parser.add_argument("--commit", help="what to note as commit where git cannot be asked")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def one_part(name: str, *given: str) -> dict[str, Any]:
    """What a process of its own is asked for."""
    rehearse = given[-1:] == ("rehearse",)
    if name == "machine":
        return machine(rehearse=rehearse)
    return random_model(Path.cwd(), json.loads(given[0]), rehearse=rehearse)


def measure(given: argparse.Namespace, folder: Path) -> int:
    """All parts in their order; returns the exit code."""
    began = time.monotonic()
    size = REHEARSED if given.rehearse else FULL
    try:
        card = apart("machine", folder, 120, *(["rehearse"] if given.rehearse else []))
    except PartFailedError as error:
        say(f"torch cannot be tried: {error}. Install the project first: bash scripts/gpu_setup.sh")
        return WRONG
    if card["device"] == "cpu" and not given.rehearse:
        say(
            "no CUDA device is seen here, and this measures one. To try the same on the CPU with a "
            "tiny model: python benchmarks/gpu.py --rehearse"
        )
        return WRONG
    say(f"{card['hardware']}; {given.minutes:g} minutes")
    card["commit"] = given.commit or card["commit"]
    result = Result(size, card, given.results or (None if given.rehearse else RESULTS))
    parts = Parts(60 * given.minutes, result.write, began)
    trial = Trial(size, folder, card)
    do_all(parts, trial, rehearse=given.rehearse, without_tests=given.without_tests)
    left = [part["name"] for part in parts.done if part["state"] == "left out"]
    if left:
        say(f"LEFT OUT: {', '.join(left)}")
    if result.file is not None:
        say(f"written: {result.file}")
    print(json.dumps(result.record(parts.done)), flush=True)
    return parts.code


if __name__ == "__main__":
    main()
