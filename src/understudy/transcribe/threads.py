"""Threads: how many torch uses for one operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Let torch use one thread for each operation, and leave parallel work to the pool.

    These networks are many small operations. Threads that wait for each other inside each of them
    gain nothing on an idle machine and cost a factor of 5 to 20 on a busy one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
