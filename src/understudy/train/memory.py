"""How a run is laid into memory: settings that config fixes, or that a trial chose."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.config.memory import MemoryConfig
from understudy.console import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """What a run does; nothing in it is open any more."""

    micro_batch: int = 1
    """Lines in one forward pass."""
    packing: bool = False
    """Whether rows of a step share a line."""
    line_tokens: int | None = None
    """Tokens of a packed line; None: the context."""
    checkpointed_blocks: int = 0
    """Blocks, from the first on, whose activations are recomputed in the backward pass."""
    offload: bool = False
    """Whether the inputs of these blocks wait in main memory."""
    mlp_tile: int | None = None
    """Tokens that go through an MLP at once; None: all."""

    def told(self, blocks: int) -> str:
        """`2 lines, 12 of 32 blocks recomputed`.

        Args:
            blocks: How many the model has.
        """
        size = self.micro_batch
        lines = f"{size:,} {'packed ' if self.packing else ''}{'line' if size == 1 else 'lines'}"
        if self.packing and self.line_tokens:
            lines += f" of {self.line_tokens:,} tokens"
        again = f"{self.checkpointed_blocks} of {blocks} blocks recomputed"
        if self.checkpointed_blocks == 0:
            again = "nothing recomputed"
        offload = ["their inputs in main memory"] if self.offload else []
        tile = [f"the MLP in tiles of {self.mlp_tile:,} tokens"] if self.mlp_tile else []
        return ", ".join([lines, again, *offload, *tile])


def plainest(config: MemoryConfig, blocks: int) -> MemoryPlan:
    """What config fixes, and for the rest what is simplest; no trial is needed for it.

    Args:
        config: `memory`.
        blocks: How many the model has.

    Raises:
        UserError: the model cannot be recomputed by the block.
    """
    if (config.checkpointing or config.offload) and not blocks:
        raise UserError(
            "the blocks of this model cannot be recomputed: set memory.checkpointing=false and "
            "memory.offload=false."
        )
    checkpointed = 0
    if config.checkpointing or (config.offload and config.checkpointing is None):
        checkpointed = config.checkpointed_blocks or blocks
    return MemoryPlan(
        micro_batch=config.micro_batch or 1,
        packing=bool(config.packing),
        line_tokens=config.line_tokens,
        checkpointed_blocks=checkpointed,
        offload=bool(config.offload),
        mlp_tile=config.mlp_tile,
    )


def agrees(plan: MemoryPlan, config: MemoryConfig, blocks: int) -> bool:
    """Whether a plan does what config fixes."""
    checkpointed = config.checkpointed_blocks
    if config.checkpointing:
        checkpointed = checkpointed or blocks
    elif config.checkpointing is False:
        checkpointed = 0
    fixed = (
        (config.micro_batch, plan.micro_batch),
        (config.packing, plan.packing),
        (config.line_tokens or 0, plan.line_tokens or 0),
        (checkpointed, plan.checkpointed_blocks),
        (config.offload, plan.offload),
        (config.mlp_tile, plan.mlp_tile),
    )
    return all(wanted is None or wanted == found for wanted, found in fixed)
