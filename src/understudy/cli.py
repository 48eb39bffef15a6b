"""`understudy`: the tools, which look at, correct and manage what the stages make."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy import __version__
from understudy.console import Exit, UserError, say

if TYPE_CHECKING:
    from understudy.show.card import Plan

STAGES = """\
Stages make things and are programs of their own:
  python -m collect | transcribe | prepare | train | generate | compare   (each has --help)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one tool and leave the process with its exit code."""
    parsed = _parser().parse_args(arguments)
    sys.exit(int(_guarded(parsed)))


def _guarded(parsed: argparse.Namespace) -> Exit:
    try:
        code: Exit = parsed.tool(parsed)
        sys.stdout.flush()
    except UserError as error:
        say(f"understudy: {error}")
        return Exit.WRONG_INPUT
    except BrokenPipeError:
        # The reader has seen enough (`| head`); Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except KeyboardInterrupt:
        return Exit.STOPPED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="understudy",
        description="Tools that look at, correct and manage what the stages make.",
        epilog=STAGES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"understudy {__version__}")
    tools = parser.add_subparsers(title="tools", metavar="TOOL", required=True)
    _add_show(tools)
    return parser


def _add_show(tools: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    show = tools.add_parser(
        "show",
        help="print a corpus, a prepared set or a training run",
        description="Print a corpus, a prepared set or a training run for a person to read.",
    )
    show.add_argument(
        "path", type=Path, help="data/<corpus>, runs/prepare/<name> or runs/train/..."
    )
    show.add_argument(
        "--rows",
        type=_count,
        metavar="N",
        help="rows of a prepared set to print, as the tokens say (default: 2, as messages), or "
        "turns of a corpus",
    )
    card = show.add_argument_group("estimate of hours and price, for a prepared set")
    card.add_argument("--card", metavar="NAME", help="rtx4090, a100, l4, t4, p6000")
    card.add_argument("--epochs", type=_count, metavar="N", help="passes (default: 3)")
    card.add_argument("--price", type=_amount, metavar="PER_HOUR", help="of the card, per hour")
    card.add_argument(
        "--billions", type=_amount, metavar="N", help="parameters, where the name tells none"
    )
    show.set_defaults(tool=_show)


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: give 0 or more")
    return number


def _amount(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount: give a number above 0")
    return number


def _show(parsed: argparse.Namespace) -> Exit:
    from understudy.show import thing

    thing.show(parsed.path, parsed.rows, _plan(parsed))
    return Exit.DONE


def _plan(parsed: argparse.Namespace) -> Plan | None:
    """What to estimate; None where no card is named.

    Raises:
        UserError: the card is not known, or a detail of the estimate was given without one.
    """
    from understudy.config.schedule import ScheduleConfig
    from understudy.show import card

    if parsed.card is None:
        for name in ("epochs", "price", "billions"):
            if getattr(parsed, name) is not None:
                raise UserError(f"--{name} needs --card: one of {', '.join(sorted(card.CARDS))}.")
        return None
    epochs = ScheduleConfig().epochs if parsed.epochs is None else parsed.epochs
    return card.Plan(
        card=card.find(parsed.card), epochs=epochs, price=parsed.price, billions=parsed.billions
    )
