"""From composed YAML to frozen dataclasses.

OmegaConf makes the node of a frozen dataclass read-only, and then nothing can be overridden. So it
is given a mutable twin of each dataclass as schema, and what it composed is built into the frozen
ones, whose `__post_init__` rules then run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_TWINS: dict[type[Any], type[Any]] = {}


def twin(frozen: type[Any]) -> type[Any]:
    """A mutable dataclass with the fields of `frozen`, its defaults and no rules."""
    if frozen not in _TWINS:
        _TWINS[frozen] = _make_twin(frozen)
    return _TWINS[frozen]


def _make_twin(frozen: type[Any]) -> type[Any]:
    hints = get_type_hints(frozen)
    base = frozen.__base__
    assert base is not None
    bases = (twin(base),) if dataclasses.is_dataclass(base) else ()
    inherited = {field.name for field in dataclasses.fields(base)} if bases else set()
    own = []
    for field in dataclasses.fields(frozen):
        if field.name in inherited and field.name not in frozen.__annotations__:
            continue
        kind = _mutable(hints[field.name])
        if field.default is not dataclasses.MISSING:
            default = dataclasses.field(default=field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = dataclasses.field(default_factory=field.default_factory)
        elif dataclasses.is_dataclass(kind):
            default = dataclasses.field(default_factory=kind)  # type: ignore[arg-type]
        else:
            default = dataclasses.field(default="???")
        own.append((field.name, kind, default))
    return dataclasses.make_dataclass(frozen.__name__, own, bases=bases, kw_only=True)


def _mutable(kind: Any) -> Any:  # noqa: ANN401  # any annotation
    # As text a path is shown and stored the same way on every machine.
    if kind is Path:
        return str
    if kind == Path | None:
        return str | None
    if kind == dict[str, float] | None:
        # Names a person makes up: under its type, OmegaConf takes no new key on the command line.
        return Any
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return twin(kind)
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        return GenericAlias(dict, (key, _mutable(value)))
    return kind


def build(frozen: type[T], values: Mapping[str, Any], key: str = "") -> T:
    """Build a frozen dataclass and those inside it from plain nested values.

    Args:
        frozen: The dataclass.
        values: Its fields.
        key: Where it stands in the config, for messages: `optim`.

    Raises:
        ValueError: a field is not known, or a rule of one of the dataclasses is not met.
    """
    hints = get_type_hints(frozen)
    prefix = f"{key}." if key else ""
    for name in values:
        if name not in hints:
            known = ", ".join(hints)
            raise ValueError(f"there is no key {prefix}{name}: choose one of {known}.")
    return frozen(**{k: _value(hints[k], value, prefix + k) for k, value in values.items()})


def _value(kind: Any, value: Any, key: str) -> Any:  # noqa: ANN401  # any annotation, any value
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return build(kind, value, key)
    if get_origin(kind) is dict and isinstance(value, Mapping):
        inner = get_args(kind)[1]
        return {name: _value(inner, item, f"{key}.{name}") for name, item in value.items()}
    if kind in (Path, Path | None) and value is not None:
        return Path(value).expanduser()
    return value
