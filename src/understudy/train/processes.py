"""The processes that train together: one, or several that accelerate or torchrun started.

Every process holds the whole model. The forward passes of a step are dealt out, the gradients of
the trained weights are summed once a step, and the first process alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Processes:
    """The process among its fellows; alone, every method is the plain thing it stands for."""

    def __init__(self) -> None:
        self._state: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            import torch
            from accelerate import PartialState

            # Without being told, accelerate takes processes without GPUs for one process each.
            gpu = torch.cuda.is_available()
            self._state = PartialState() if gpu else PartialState(cpu=True, backend="gloo")
            assert self._state.num_processes == int(os.environ["WORLD_SIZE"])

    @property
    def rank(self) -> int:
        """The process's number, from 0."""
        return 0 if self._state is None else int(self._state.process_index)

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self._state is None else int(self._state.num_processes)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, things: Sequence[T]) -> Sequence[T]:
        """The process's part; some may get one more than others, or none at all."""
        return things[self.rank :: self.count]

    def sum(self, values: Any) -> Any:  # noqa: ANN401  # a Tensor
        """A tensor summed over all processes; the same everywhere."""
        if self._state is None:
            return values
        from accelerate.utils import reduce

        return reduce(values, reduction="sum")

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """Sum the gradients of all processes in place.

        A sum, not the mean that DistributedDataParallel makes: each process has divided by the
        token count of the whole step already.
        """
        if self._state is None:
            return
        import torch

        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def gather(self, thing: T) -> list[T]:
        """What every process has, in order of rank."""
        if self._state is None:
            return [thing]
        from accelerate.utils import gather_object

        return list(gather_object([thing]))

    def any(self, *, flag: bool) -> bool:
        """Whether it is so in one of the processes."""
        return flag if self._state is None else any(self.gather(flag))

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The others begin when the first process is through."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def wait(self) -> None:
        """Until all have come here."""
        if self._state is not None:
            self._state.wait_for_everyone()
