"""Less kept for the backward pass: blocks recomputed, their inputs moved away, the MLP in tiles.

Legend: b lines, t tokens, h hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.console import UserError
from understudy.train.memory import MemoryPlan
from understudy.train.offload import Offload

if TYPE_CHECKING:
    from torch import Tensor


def blocks(model: Any) -> list[Any]:  # noqa: ANN401  # transformers has no types
    """The decoder blocks that can be recomputed, from the first on; none for some architectures."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def apply(model: Any, plan: MemoryPlan) -> None:  # noqa: ANN401
    """Make the model's training passes those of the plan; it may be given another one later.

    transformers' own switch takes all blocks or every n-th, and has the embedding ask for a
    gradient: blocks below the first that is trained would then be gone through backwards for
    nothing.

    Raises:
        UserError: the model has not so many blocks, or none that can be recomputed or tiled.
    """
    found = blocks(model)
    if plan.checkpointed_blocks > len(found):
        raise UserError(
            f"{plan.checkpointed_blocks} blocks of this model cannot be recomputed: it has "
            f"{len(found)} that can. Set memory.checkpointed_blocks lower, or "
            "memory.checkpointing=false."
        )
    checkpoint = _checkpoint(Offload() if plan.offload else None)
    for number, block in enumerate(found):
        block.gradient_checkpointing = number < plan.checkpointed_blocks
        block._gradient_checkpointing_func = checkpoint  # noqa: SLF001  # what blocks call
        _tile(block, plan.mlp_tile)
    if plan.mlp_tile and not found:
        raise UserError("the MLPs of this model cannot be tiled: set memory.mlp_tile=null.")


def can_tile(model: Any) -> bool:  # noqa: ANN401
    """Whether every block has an MLP that works token by token."""
    found = blocks(model)
    return bool(found) and all(_has_mlp(block) for block in found)


def _checkpoint(offload: Offload | None) -> Callable[..., Any]:
    import torch
    from torch.utils.checkpoint import checkpoint

    def kept_small(function: Callable[..., Any], *inputs: Any) -> Any:  # noqa: ANN401
        if offload is None:
            return checkpoint(function, *inputs, use_reentrant=False)
        # Around the checkpoint these hooks see its inputs alone: within it, its own are at work.
        with torch.autograd.graph.saved_tensors_hooks(offload.away, offload.back):
            return checkpoint(function, *inputs, use_reentrant=False)

    return kept_small


# --- tiles ---


class Tiles:
    """An MLP's forward pass over tiles of tokens, each recomputed by itself in the backward pass.

    As in Arctic Long Sequence Training (Bekman et al. 2025, arXiv:2506.13996, section 3.2). Weights
    within, adapters too, gather their gradients over the tiles.
    """

    def __init__(self, whole: Callable[..., Tensor], size: int) -> None:
        self.whole = whole
        self.size = size

    def __call__(self, hidden_bth: Tensor) -> Tensor:
        """Returns [b, t, h]."""
        import torch
        from torch.utils.checkpoint import checkpoint

        flat_1th = hidden_bth.reshape(1, -1, hidden_bth.shape[-1])
        if flat_1th.shape[1] <= self.size:
            return self.whole(hidden_bth)
        parts = flat_1th.split(self.size, dim=1)
        if torch.is_grad_enabled():
            done = [checkpoint(self.whole, part, use_reentrant=False) for part in parts]
        else:
            done = [self.whole(part) for part in parts]
        return torch.cat(done, dim=1).view_as(hidden_bth)


def _tile(block: Any, size: int | None) -> None:  # noqa: ANN401
    mlp: Any = getattr(block, "mlp", None)
    before = getattr(mlp, "forward", None)
    if isinstance(before, Tiles):
        mlp.forward = before.whole
    if size is None:
        return
    if not _has_mlp(block):
        raise UserError(
            f"the blocks of this model, {type(block).__name__}, cannot be tiled: set "
            "memory.mlp_tile=null."
        )
    mlp.forward = Tiles(mlp.forward, size)


def _has_mlp(block: Any) -> bool:  # noqa: ANN401
    """Whether its MLP takes a token at a time; a router of experts may look at all of a pass."""
    mlp = getattr(block, "mlp", None)
    return hasattr(mlp, "down_proj") and (hasattr(mlp, "up_proj") or hasattr(mlp, "gate_up_proj"))
