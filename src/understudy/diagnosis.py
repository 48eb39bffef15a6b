"""Diagnosis: what a person did wrong with the config, in words."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from understudy.config import Config
from understudy.console import UserError

OUR_CHECKS = ("understudy.config.", "understudy.door", "understudy.tasks.")


def explain(error: BaseException) -> str | None:
    """A person's mistake in words; None where it is ours and needs a traceback."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, UserError):
        return str(error)
    refused = [link for link in _chain(error) if isinstance(link, OmegaConfBaseException)]
    if refused:
        # The outermost with a key has its message filled in; those inside it are templates.
        return _explain_value(next((e for e in refused if e.full_key), refused[0]))
    if isinstance(error, HydraException):
        return _explain_choice(str(error))
    if isinstance(error, ValueError) and _raised_by(error, OUR_CHECKS):
        return str(error)
    if isinstance(error, ValueError) and _raised_by(error, ("hydra.",)):
        return str(error)
    return None


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _raised_by(error: BaseException, modules: tuple[str, ...]) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return str(module).startswith(modules)


def _explain_value(error: Any) -> str:  # noqa: ANN401  # an OmegaConfBaseException
    """What OmegaConf refused: an unknown key, a missing value, or one of the wrong kind."""
    text, key = str(error), error.full_key
    if re.search(r"Key '[^']+' (is not in struct|not in '\w+')", text):
        return unknown_key(key)
    if "Missing mandatory value" in text:
        return f"{key} is not set: give {key}=<value>."
    given = re.search(r"Value '(.*?)' of type '\w+' could not be converted to (\w+)", text)
    if given:
        return f"{key}={given.group(1)} is not of the right kind: give a {given.group(2).lower()}."
    choice = re.search(r"Invalid value '(.*?)', expected one of \[(.*?)\]", text)
    if choice:
        return f"{key}={choice.group(1)} is not known: choose one of {choice.group(2)}."
    head = text.splitlines()[0]
    return f"{key}: {head}" if key else head


def _explain_choice(text: str) -> str:
    """What Hydra refused: a choice that a group does not have, or an override it cannot read."""
    choice = re.search(r"Could not (?:find|load) '([\w./-]+)/([^'/]+)'", text)
    if choice:
        group, name = choice.groups()
        known = _choices(group)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"{group}={name} is not known: choose one of {', '.join(known)}.{hint}"
    lines = (line.strip() for line in text.splitlines())
    return " ".join(line for line in lines if line and not line.startswith("See http"))


def _choices(group: str) -> list[str]:
    from importlib import resources

    folder = resources.files("understudy.conf").joinpath(group)
    if not folder.is_dir():
        return []
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def unknown_key(key: str) -> str:
    """Say that a key is unknown and which one is nearest."""
    known = config_keys(Config)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not near:
        near = difflib.get_close_matches(key.split(".", maxsplit=1)[0], known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"there is no key {key}.{hint} `--cfg job` shows them all."


def config_keys(schema: type, prefix: str = "") -> list[str]:
    """Every key of the schema as a person types it: `optim`, `optim.lr`, ..."""
    from understudy import tasks

    keys: list[str] = []
    hints = get_type_hints(schema)
    for field in fields(schema):
        keys.append(prefix + field.name)
        inner = hints[field.name]
        if field.name == "task":
            for task in tasks.schemas().values():
                keys += config_keys(task, "task.")
        elif is_dataclass(inner) and isinstance(inner, type):
            keys += config_keys(inner, f"{prefix}{field.name}.")
    return keys
