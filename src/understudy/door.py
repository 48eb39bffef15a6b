"""What all six doors do: compose the config, check it, call the stage, say how it ended."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from understudy.config import Config
from understudy.config.schema import build, twin
from understudy.config.task import TaskConfig
from understudy.console import Exit, Outcome, RunFailedError, Stopped, made, say
from understudy.diagnosis import explain, unknown_key

if TYPE_CHECKING:
    from understudy.sweep.job import Job

LAUNCHER = "UNDERSTUDY_LAUNCHER"
"""Tells a job of a sweep which process started it."""


PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: the signal a process gets when the one that started it dies."""


def open_door(stage: str, run: Callable[[Config], Outcome]) -> None:
    """Run one stage as a Hydra program and leave the process with the right exit code."""
    visit = Visit(stage, run)
    composed = _guarded(stage, lambda: _hydra_main(visit))
    sys.stderr.flush()
    sys.exit(int(max(composed, *visit.codes, key=_gravity) if visit.codes else composed))


class Visit:
    """What Hydra calls: once with the config, or by the launcher with all jobs of a sweep."""

    def __init__(self, stage: str, run: Callable[[Config], Outcome]) -> None:
        self.stage = stage
        self.run = run
        self.codes: list[Exit] = []
        self.__module__ = stage  # by which Hydra names the program

    def __call__(self, node: Any) -> None:  # noqa: ANN401  # a DictConfig
        """Run the stage; the config is plain dataclasses from here on."""
        self._keep(lambda: self.run(to_config(node)))

    def sweep(self, jobs: Sequence[Job]) -> None:
        """Run a sweep's jobs, each in a process of its own."""
        from understudy.sweep import sweep

        self._keep(lambda: sweep.run(self.stage, jobs))

    def _keep(self, work: Callable[[], Outcome]) -> None:
        self.codes.append(_guarded(self.stage, lambda: _timed(self.stage, work)))


def _gravity(code: Exit) -> int:
    """Of several jobs' codes the gravest is the door's: failures before parts before success."""
    order = (
        Exit.DONE,
        Exit.IN_PART,
        Exit.GATE_NOT_MET,
        Exit.WRONG_INPUT,
        Exit.FAILED,
        Exit.STOPPED,
    )
    return order.index(code)


def _guarded(stage: str, work: Callable[[], Exit]) -> Exit:
    """Do the work; say in words what a person can mend, and show a traceback of what is ours."""
    try:
        return work()
    except (Stopped, KeyboardInterrupt) as stop:
        say(f"{stage}: {str(stop) or 'stopped; the same command goes on from here.'}")
        return Exit.STOPPED
    except BrokenPipeError:
        # Whoever read stdout (`| head`) has seen enough; nothing is left to tell them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except Exception as error:  # noqa: BLE001  # sorted into a person's mistakes and ours
        return _failed(stage, error)


def _failed(stage: str, error: Exception) -> Exit:
    if isinstance(error, RunFailedError):
        say(f"{stage}: {error}")
        return Exit.FAILED
    message = explain(error)
    if message is not None:
        say(f"{stage}: {message}")
        return Exit.WRONG_INPUT
    traceback.print_exception(error)
    say(f"{stage}: failed with {type(error).__name__}; this is a fault in understudy.")
    return Exit.FAILED


def _hydra_main(visit: Visit) -> Exit:
    import hydra

    # Hydra prints composition errors itself and leaves with 1 unless it is told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_schema()
    main = hydra.main(version_base="1.3", config_path="pkg://understudy.conf", config_name="config")
    previous = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        _follow_launcher()
        # Before Hydra writes them into a sweep's folder.
        for override in sys.argv[1:]:
            key, _, value = override.partition("=")
            refuse_secrets(value, key.lstrip("+~"))
        main(visit)()
    finally:
        signal.signal(signal.SIGTERM, previous)
    return Exit.DONE


def _follow_launcher() -> None:
    """Stop, saving, when the launcher that started this job is killed: none may go on unseen.

    Raises:
        Stopped: it is dead already.
    """
    launcher = os.environ.pop(LAUNCHER, None)
    if launcher is None:
        return
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(launcher):
        raise Stopped("the sweep that started this job is dead.")


def _on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    raise Stopped("stopped by SIGTERM; the same command goes on from here.")


def _timed(stage: str, work: Callable[[], Outcome]) -> Exit:
    began = time.monotonic()
    outcome = work()
    say(f"{stage}: {time.monotonic() - began:.1f} s, peak memory {_peak_gib():.2f} GiB")
    made(outcome.path.absolute())
    return outcome.code


def _peak_gib() -> float:
    """Largest memory that this process or one of its children held."""
    own, children = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return max(own, children) / 2**20


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

    values: Any = OmegaConf.to_container(
        node, resolve=True, throw_on_missing=True, enum_to_str=False
    )
    refuse_secrets(values)
    for key in values:
        if key not in Config.__dataclass_fields__:
            raise ValueError(unknown_key(key))
    task = values.pop("task")
    schema = tasks.schemas().get(task["name"], TaskConfig)
    return build(Config, {**values, "task": build(schema, task, "task")})


# Only at the start of a word: runs are named like `nightdesk-...`, which holds an `sk-` too.
SECRET = re.compile(r"(?<![A-Za-z0-9])(hf_|sk-|gh[pousr]_)[A-Za-z0-9_-]{20,}")


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
