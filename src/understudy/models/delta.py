"""Weights of the base itself, trained: the last blocks and the head, saved as a delta.

A delta is a folder with two files: `delta.safetensors` holds the trained parameters under the
base's own names, to be put in the place of the base's, and `delta.json` says what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.config.adapter import AdapterConfig
from understudy.console import RunFailedError, UserError, say
from understudy.models import keys
from understudy.models.base import torch_dtype

CARD_FILE = "delta.json"
WEIGHTS_FILE = "delta.safetensors"
FORMAT = 1
ABOUT = (
    "Weights of the base model that were trained. Each tensor of delta.safetensors takes the place "
    "of the base model's parameter of the same name; all others are as in the base."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfrozen:
    """What of a base is trained, and how it was before."""

    blocks: int
    head: bool
    tied: bool
    """Head and input embedding are one tensor."""
    before: Mapping[str, tuple[float, float]]
    """Fingerprint of each trained parameter when it was untrained."""


def attach(base: Any, config: AdapterConfig) -> Any:  # noqa: ANN401  # transformers has no types
    """Unfreeze the last blocks and the head; they are held in `adapter.dtype` from here on.

    Raises:
        UserError: the model has fewer blocks, or its weights cannot be trained as they are.
    """
    assert config.blocks is not None
    assert config.head is not None
    head = base.get_output_embeddings()
    tied = config.head and head.weight is base.get_input_embeddings().weight
    modules = [*_last_blocks(base, config.blocks), *([head] if config.head else [])]
    chosen = {id(p) for module in modules for p in module.parameters()}
    trained = {name: p for name, p in base.named_parameters() if id(p) in chosen}
    _must_be_trainable(base, trained, config)
    for parameter in trained.values():
        parameter.data = parameter.data.to(torch_dtype(config.dtype))
        parameter.requires_grad_(requires_grad=True)
    before = {name: _fingerprint(p) for name, p in trained.items()}
    base.unfrozen = Unfrozen(blocks=config.blocks, head=config.head, tied=tied, before=before)
    say("train: no adapter: adapter.r, alpha, dropout and targets are not used by unfreeze")
    if tied:
        say(
            "train: this model's head and input embedding are one: both are trained, and gradients "
            "go through every block to reach it (adapter.head=false is cheaper)"
        )
    return base


def is_on(model: Any) -> bool:  # noqa: ANN401
    """Whether it is weights of this model itself that are trained."""
    return isinstance(getattr(model, "unfrozen", None), Unfrozen)


def save(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Write the trained parameters, as they are held, and what they are."""
    from safetensors.torch import save_file

    trained = _trained(model)
    tensors = {name: p.detach().contiguous() for name, p in trained.items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    card = {
        "about": ABOUT,
        "format": FORMAT,
        "method": "unfreeze",
        "base": model.config.name_or_path or None,
        "last_blocks": model.unfrozen.blocks,
        "head": model.unfrozen.head,
        "head_is_input_embedding": model.unfrozen.tied,
        "tensors": len(trained),
        "parameters": sum(p.numel() for p in trained.values()),
    }
    artifacts.write_json(folder / CARD_FILE, card)


def restore(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Put saved weights back where they were trained, bit for bit.

    Raises:
        UserError: a key is missing, unknown or of another shape; the message lists them.
    """
    import torch
    from safetensors.torch import load_file

    saved, trained = load_file(folder / WEIGHTS_FILE), _trained(model)
    keys.must_match(folder, saved, trained)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(saved[name])


def check(model: Any) -> None:  # noqa: ANN401
    """Refuse weights that are as they were in the base, or broke.

    Raises:
        RunFailedError: nothing changed, or a value is not finite.
    """
    trained = _trained(model)
    if not all(bool(p.detach().isfinite().all()) for p in trained.values()):
        raise RunFailedError("trained weights hold values that are not finite. Lower optim.lr.")
    if all(_fingerprint(p) == model.unfrozen.before[name] for name, p in trained.items()):
        raise RunFailedError(
            "every trained weight is as it was in the base: nothing was learned. Raise optim.lr."
        )


def load(folder: Path, base: Mapping[str, Any]) -> dict[str, Any]:
    """A saved delta as tensors to be put in the place of the base's: its format, its device.

    Args:
        folder: The delta.
        base: Every parameter of the base, by its own name.

    Raises:
        UserError: the base has no such parameter, or one of another shape.
    """
    from safetensors.torch import load_file

    saved = load_file(folder / WEIGHTS_FILE)
    keys.must_match(folder, saved, {name: p for name, p in base.items() if name in saved})
    return {name: tensor.to(base[name]) for name, tensor in saved.items()}


def _trained(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """The trained parameters by the base's names; a tied one once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _last_blocks(base: Any, count: int) -> list[Any]:  # noqa: ANN401
    blocks = getattr(getattr(base, "model", None), "layers", None)
    if blocks is None:
        raise UserError(
            f"adapter=unfreeze does not know where {type(base).__name__} keeps its blocks: choose "
            "adapter=lora, or another model."
        )
    if count > len(blocks):
        raise UserError(
            f"adapter.blocks={count}: this model has {len(blocks)} blocks. Give at most as many."
        )
    return list(blocks)[len(blocks) - count :]


def _must_be_trainable(base: Any, trained: Mapping[str, Any], config: AdapterConfig) -> None:  # noqa: ANN401
    if not all(p.is_floating_point() for p in trained.values()):
        raise UserError(
            "adapter=unfreeze trains the base's own weights, and this model's are quantised: "
            "choose a model that is not, or adapter=lora."
        )
    # In fp32 nothing is computed under autocast, which is what brings two formats together.
    if str(base.dtype) == "torch.float32" and config.dtype.name != "fp32":
        raise UserError(
            f"adapter.dtype={config.dtype.name} with model.dtype=fp32: weights of the base itself "
            "cannot be held in less than the rest. Set adapter.dtype=fp32, or model.dtype=bf16."
        )


def _fingerprint(parameter: Any) -> tuple[float, float]:  # noqa: ANN401
    """Sum and sum of absolute values, in fp64: what a step of any size changes."""
    import torch

    values = parameter.detach()
    size = torch.linalg.vector_norm(values, ord=1, dtype=torch.float64)
    return float(values.sum(dtype=torch.float64)), float(size)
