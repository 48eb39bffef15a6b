"""Jobs out of what Hydra's sweeper hands over: every config is composed before any job starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from understudy.config import Config
from understudy.console import UserError
from understudy.sweep.job import Job, key

SHOWN = 5
"""Jobs that are named where one message is for several of them."""
OWN = ("hydra.mode", "hydra.sweep", "hydra/sweeper", "hydra/launcher", "hydra.launcher")
"""Overrides that are for the sweep and not for its jobs; `hydra.sweeper.*` begins with one."""


def jobs(
    overrides: Sequence[Sequence[str]],
    given: Sequence[str],
    compose: Callable[[Sequence[str]], Any],
) -> list[Job]:
    """Compose and check every job's config.

    Args:
        overrides: By job, the config's overrides.
        given: Overrides of Hydra's own settings.
        compose: From a job's overrides to its config, as OmegaConf has it.

    Raises:
        UserError: configs that do not hold, and for which jobs.
    """
    before = (*_flags(), *(one for one in given if not one.lstrip("+~").startswith(OWN)))
    made: list[Job] = []
    wrong: dict[str, list[int]] = {}
    for number, each in enumerate(overrides, start=1):
        config = _config(compose, each)
        if isinstance(config, str):
            wrong.setdefault(config, []).append(number)
            continue
        job = Job(
            number=number,
            overrides=tuple(each),
            arguments=(*before, *each),
            config=config,
        )
        made.append(job)
    if wrong:
        raise UserError(_refusal(wrong, overrides))
    return made


def _config(compose: Callable[[Sequence[str]], Any], overrides: Sequence[str]) -> Config | str:
    """The job's config, or why there is none."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from understudy.diagnosis import explain
    from understudy.door import to_config

    try:
        return to_config(compose(overrides))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        message = explain(error)
        if message is None:
            raise
        return message


def _refusal(wrong: dict[str, list[int]], overrides: Sequence[Sequence[str]]) -> str:
    if len(wrong) == 1 and len(next(iter(wrong.values()))) == len(overrides):
        return next(iter(wrong))
    constant = set.intersection(*(set(each) for each in overrides))
    lines = []
    for message, numbers in wrong.items():
        for number in numbers[:SHOWN]:
            values = [one for one in overrides[number - 1] if one not in constant]
            named = " ".join(f"{key(one)}={one.partition('=')[2]}" for one in values)
            lines.append(f"  job {number} ({named}): {message}")
        if len(numbers) > SHOWN:
            lines.append(f"  and {len(numbers) - SHOWN} more jobs: {message}")
    several = sum(len(numbers) for numbers in wrong.values())
    head = f"{several} of {len(overrides)} jobs cannot be run, so none was started:"
    return "\n".join([head, *lines])


def _flags() -> tuple[str, ...]:
    """The flags that say where configs lie, as they were typed."""
    from hydra._internal.utils import get_args_parser

    typed, _ = get_args_parser().parse_known_args()
    flags = ("config_path", "config_name", "config_dir")
    pairs = ((f"--{flag.replace('_', '-')}", getattr(typed, flag)) for flag in flags)
    return tuple(part for flag, value in pairs if value is not None for part in (flag, value))
