"""Inputs of recomputed blocks wait in pinned main memory and come back in the backward pass."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SMALL = 1 << 20
"""Bytes of a tensor on a GPU that is not worth the way."""


class Waiting:
    """A tensor in main memory; `before` went there before it, and is wanted back after it."""

    def __init__(self, host: Tensor, device: Any, before: Waiting | None) -> None:  # noqa: ANN401
        self.host = host
        self.device = device
        self.before = before
        self.coming: Tensor | None = None


class Offload:
    """Hooks for saved tensors: `away` in the forward pass, `back` in the backward pass.

    Copies go over a stream of their own, so that blocks compute meanwhile. Backward takes blocks
    from the last to the first: while one is computed, the input of the next is on its way.

    Without a GPU the tensors are copied within main memory: nothing is gained, and figures are the
    same.
    """

    def __init__(self) -> None:
        self._stream: Any = None
        self._last: weakref.ref[Waiting] | None = None

    def away(self, tensor: Tensor) -> Tensor | Waiting:
        """A block's input: copied into main memory; small tensors stay as they are."""
        import torch

        if tensor.numel() == 0 or (tensor.is_cuda and tensor.nbytes < SMALL):
            return tensor
        kept = tensor.detach()
        if tensor.is_cuda:
            here, aside = torch.cuda.current_stream(), self._aside()
            host = torch.empty(kept.shape, dtype=kept.dtype, pin_memory=True)
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                host.copy_(kept, non_blocking=True)
            # Its memory must not be given to others before the copy is made.
            kept.record_stream(aside)
        else:
            host = kept.clone()
        before = self._last() if self._last is not None else None
        waiting = Waiting(host, tensor.device, before)
        self._last = weakref.ref(waiting)
        return waiting

    def back(self, kept: Tensor | Waiting) -> Tensor:
        """The tensor where it was; the one before it sets out."""
        import torch

        if not isinstance(kept, Waiting):
            return kept
        self._fetch(kept)
        if kept.device.type == "cuda":
            torch.cuda.current_stream().wait_stream(self._aside())
        found, kept.coming = kept.coming, None
        assert found is not None
        if kept.before is not None:
            self._fetch(kept.before)
            kept.before = None
        return found

    def _fetch(self, waiting: Waiting) -> None:
        import torch

        if waiting.coming is not None:
            return
        if waiting.device.type != "cuda":
            waiting.coming = waiting.host.clone()
            return
        here, aside = torch.cuda.current_stream(), self._aside()
        waiting.coming = torch.empty_like(waiting.host, device=waiting.device)
        # What lay in that memory before may still be in use on the stream that computes.
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            waiting.coming.copy_(waiting.host, non_blocking=True)
        waiting.coming.record_stream(aside)

    def _aside(self) -> Any:  # noqa: ANN401
        import torch

        if self._stream is None:
            self._stream = torch.cuda.Stream()
        return self._stream
