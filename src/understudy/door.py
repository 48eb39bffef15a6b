"""What all six doors do: compose the config, check it, call the stage, say how it ended."""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import FrameType
from typing import Any, get_type_hints

from understudy.config import Config
from understudy.config.schema import build, twin
from understudy.config.task import TaskConfig
from understudy.console import Exit, Outcome, Stopped, UserError, made, say, stderr

STAGES = ("collect", "transcribe", "prepare", "train", "generate", "compare")


def open_door(stage: str, run: Callable[[Config], Outcome]) -> None:
    """Run one stage as a Hydra program and leave the process with the right exit code."""
    # Hydra prints composition errors itself and leaves with 1 unless it is told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    codes: list[int] = []

    def job(node: Any) -> None:  # noqa: ANN401  # a DictConfig, which goes no further than here
        codes.append(_run(to_config(node), run))

    try:
        _hydra_main(stage, job)
    except Stopped as stop:
        say(f"{stage}: {stop}")
        _leave(Exit.STOPPED)
    except KeyboardInterrupt:
        say(f"{stage}: stopped; the same command goes on from here.")
        _leave(Exit.STOPPED)
    except Exception as error:  # noqa: BLE001  # sorted into a person's mistakes and ours, below
        message = explain(error)
        if message is None:
            stderr().print_exception()
            _leave(Exit.FAILED)
        say(f"{stage}: {message}")
        _leave(Exit.WRONG_INPUT)
    _leave(max(codes, default=Exit.DONE))


def _leave(code: int) -> None:
    sys.stderr.flush()
    sys.exit(int(code))


def _hydra_main(stage: str, job: Callable[[Any], None]) -> None:
    import hydra

    register_schema()
    job.__module__ = "__main__"
    main = hydra.main(version_base="1.3", config_path="pkg://understudy.conf", config_name="config")
    previous = signal.signal(signal.SIGTERM, _on_sigterm)
    sys.argv[0] = stage
    try:
        main(job)()
    finally:
        signal.signal(signal.SIGTERM, previous)


def _on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    raise Stopped("stopped by SIGTERM; the same command goes on from here.")


def _run(config: Config, run: Callable[[Config], Outcome]) -> int:
    outcome = run(config)
    made(outcome.path)
    return outcome.code


def register_schema() -> None:
    """Make the dataclasses the schema that every YAML is checked against."""
    from hydra.core.config_store import ConfigStore

    from understudy import tasks

    store = ConfigStore.instance()
    store.store(name="schema", node=twin(Config))
    for name, schema in tasks.schemas().items():
        store.store(group="task/schema", name=name, node=twin(schema))


def to_config(node: Any) -> Config:  # noqa: ANN401  # a DictConfig
    """The composed config as plain, checked dataclasses.

    Raises:
        ValueError: a value is out of range or fields contradict each other.
    """
    from omegaconf import OmegaConf

    from understudy import tasks

    values = OmegaConf.to_container(node, resolve=True, throw_on_missing=True, enum_to_str=False)
    refuse_secrets(values)
    task = values.pop("task")
    schema = tasks.schemas().get(task["name"], TaskConfig)
    return build(Config, {**values, "task": build(schema, task)})


SECRET = re.compile(r"hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}")


def refuse_secrets(value: object, key: str = "") -> None:
    """Refuse a config value that looks like an access token: overrides end up in files.

    Raises:
        ValueError: naming the key, not the value.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            refuse_secrets(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            refuse_secrets(item, key)
    elif isinstance(value, str) and SECRET.search(value):
        raise ValueError(
            f"{key} looks like an access token, and config values are written to disk: "
            "put it into the environment (HF_TOKEN=...) instead."
        )


def explain(error: BaseException) -> str | None:
    """A person's mistake in words; None where it is ours and needs a traceback."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    chain = _chain(error)
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
    for link in reversed(chain):
        if isinstance(link, (HydraException, OmegaConfBaseException)):
            return _explain_config(link, chain)
    if isinstance(error, ValueError) and _from_config(error):
        return str(error)
    return None


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _from_config(error: BaseException) -> bool:
    """Whether the error was raised by a config dataclass or by the checks on one."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return str(module).startswith(("understudy.config.", "understudy.door", "understudy.tasks."))


def _explain_config(error: BaseException, chain: list[BaseException]) -> str:
    text = str(error)
    unknown = re.search(r"Key '([^']+)' (?:is not in struct|not in '\w+')", text)
    if unknown:
        full = re.search(r"full_key: (\S+)", text)
        return unknown_key(full.group(1) if full else unknown.group(1))
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} is not set: give {missing.group(1)}=<value>."
    if "Could not override" in text and len(chain) > 1:
        deeper = [link for link in chain if link is not error and "full_key" in str(link)]
        if deeper:
            return _explain_config(deeper[0], [deeper[0]])
    full = re.search(r"full_key: (\S+)", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [
        line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_"))
    ]
    head = f"{full.group(1)}: " if full else ""
    return head + " ".join(kept)


def unknown_key(key: str) -> str:
    """Say that a key is unknown and which one is nearest."""
    known = config_keys(Config)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not near:
        near = difflib.get_close_matches(key.split(".")[0], known, n=1, cutoff=0.5)
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
