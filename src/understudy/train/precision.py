"""Number formats while training: what the base computes in, and loss scaling where that is fp16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from understudy.config.model import Dtype

LEAST_SCALE = 1.0
"""Below it loss scaling has nothing left to give: what overflows is the model itself."""


class Precision:
    """Runs the forward pass in the base's number format, over trained weights held in fp32.

    With fp16, whose smallest normal number is 6e-5, gradients vanish unless the loss is multiplied
    by a large factor first (Micikevicius et al. 2017, arXiv:1710.03740). The factor halves when
    something overflows and doubles again after 2,000 good steps.
    """

    def __init__(self, dtype: Dtype, device: str) -> None:
        import torch

        self.dtype = dtype
        self.device = device
        self._scaler: Any = None
        if dtype is Dtype.fp16:
            self._scaler = torch.amp.GradScaler(device)
            # It is ready only once it has scaled something, and a process may get no pass to make.
            self._scaler.scale(torch.zeros((), device=device))

    def computing(self) -> AbstractContextManager[Any]:
        """A context in which matrix products are made in the base's format."""
        import torch

        if self.dtype is Dtype.fp32:
            return nullcontext()
        return torch.autocast(self.device, dtype=getattr(torch, self.dtype.value))

    @property
    def scale(self) -> float | None:
        """What the loss is multiplied by; None where nothing is scaled."""
        return None if self._scaler is None else float(self._scaler.get_scale())

    @property
    def exhausted(self) -> bool:
        """Whether an overflow cannot be mended by a smaller scale."""
        scale = self.scale
        return scale is None or scale <= LEAST_SCALE

    def backward(self, loss: Any) -> None:  # noqa: ANN401  # a Tensor
        """Gradients of the loss, scaled where that is needed."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def unscale(self, optimizer: Any) -> None:  # noqa: ANN401
        """Bring gradients back to their true size, so that they can be clipped and judged."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def halve(self) -> None:
        """Halve the scale after an overflow, without a step.

        The optimiser is not asked: it would step where every gradient is finite and only their norm
        is not.
        """
        assert self._scaler is not None
        self._scaler.update(self._scaler.get_scale() * self._scaler.get_backoff_factor())
        self._scaler.load_state_dict({**self._scaler.state_dict(), "_growth_tracker": 0})

    def step(self, optimizer: Any) -> None:  # noqa: ANN401
        """The optimiser's step on finite gradients; with fp16 the scale may grow."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: plain numbers."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """Put the scale back to where it was."""
        if self._scaler is not None:
            self._scaler.load_state_dict(state)
