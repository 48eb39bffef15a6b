"""The door of `collect`: python -m collect source=folder source.path=samples corpus=bench."""

from __future__ import annotations

import sys

from understudy.collect.stage import run
from understudy.door import open_door


def main() -> None:
    """Compose, validate, collect."""
    sys.argv[1:] = [quoted(argument) for argument in sys.argv[1:]]
    open_door("collect", run)


def quoted(argument: str) -> str:
    """A pasted address as Hydra's grammar wants it: in quotes, because of `?v=`."""
    key, _, value = argument.partition("=")
    if key.lstrip("+") != "source.url" or not value.startswith(("http://", "https://")):
        return argument
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


if __name__ == "__main__":
    main()
