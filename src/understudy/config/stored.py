"""The config that a run was made with, read back from its `config.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.config.root import Config
from understudy.config.schema import build, twin
from understudy.config.task import TaskConfig


def read(path: Path) -> Config:
    """Read a run's config. The task is read as far as every task has it.

    Raises:
        ValueError: the file is missing or does not fit the schema; the message names it.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        task = found["task"]
        common = {name: task[name] for name in TaskConfig.__dataclass_fields__ if name in task}
        node = OmegaConf.merge(OmegaConf.structured(twin(Config)), {**found, "task": common})
        values: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except (OSError, yaml.YAMLError, OmegaConfBaseException, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from None
    return build(Config, values)
