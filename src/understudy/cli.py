"""`understudy`: the tools, which look at, correct and manage what the stages make."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from understudy import __version__
from understudy.console import Exit, UserError, say

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
        "--rows", type=_count, metavar="N", help="rows of a prepared set to print (default: 2)"
    )
    show.set_defaults(tool=_show)


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: give 0 or more")
    return number


def _show(parsed: argparse.Namespace) -> Exit:
    from understudy.show import thing

    thing.show(parsed.path, parsed.rows)
    return Exit.DONE
