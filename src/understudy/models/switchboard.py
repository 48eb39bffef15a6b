"""One base in memory, and any number of checkpoints that speak through it, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.console import UserError
from understudy.models import adapters, delta
from understudy.records.checkpoints import BASE


class Switchboard:
    """Adapters stay on the base and are switched; of the deltas the last one used is held."""

    def __init__(self, base: Any) -> None:  # noqa: ANN401  # transformers has no types
        self.model = base
        # By their own names: adapters put on later wrap the layers and change the names.
        self.parameters = dict(base.named_parameters())
        self.adapters: set[str] = set()
        self.deltas: dict[str, Path] = {}
        self._held: tuple[str, dict[str, Any]] | None = None

    def add(self, name: str, folder: Path) -> None:
        """Make a checkpoint known under a name; every key must match.

        Raises:
            UserError: it does not fit the base, or it is no checkpoint.
        """
        if (folder / adapters.WEIGHTS_FILE).is_file():
            self.model = adapters.add(self.model, folder, name)
            self.adapters.add(name)
        elif (folder / delta.WEIGHTS_FILE).is_file():
            self.deltas[name] = folder
            self._delta(name)
        else:
            raise UserError(
                f"{folder} has neither {adapters.WEIGHTS_FILE} nor {delta.WEIGHTS_FILE}: it is no "
                "checkpoint of a training run."
            )

    @contextmanager
    def speaking(self, name: str) -> Iterator[Any]:
        """The model as that checkpoint; `base` is the base alone. In evaluation mode."""
        self.model.eval()
        if name in self.adapters:
            self.model.set_adapter(name)
            yield self.model
            return
        assert name == BASE or name in self.deltas, name
        with self._without_adapters(), self._swapped(name):
            yield self.model

    @contextmanager
    def _without_adapters(self) -> Iterator[None]:
        if not self.adapters:
            yield
            return
        with self.model.disable_adapter():
            yield

    @contextmanager
    def _swapped(self, name: str) -> Iterator[None]:
        """The delta's tensors in the place of the base's, which come back untouched."""
        tensors = {} if name == BASE else self._delta(name)
        before = {key: self.parameters[key].data for key in tensors}
        try:
            for key, tensor in tensors.items():
                self.parameters[key].data = tensor
            yield
        finally:
            for key, tensor in before.items():
                self.parameters[key].data = tensor

    def _delta(self, name: str) -> dict[str, Any]:
        # Each may be a gigabyte, and checkpoints speak one after another.
        if self._held is None or self._held[0] != name:
            self._held = None
            self._held = name, delta.load(self.deltas[name], self.parameters)
        return self._held[1]
