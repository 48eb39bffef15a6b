"""Loads base models: plain or in 4-bit, never with code from the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from understudy.config.adapter import AdapterConfig, Quantisation
from understudy.config.memory import Attention, MemoryConfig
from understudy.config.model import Dtype, ModelConfig
from understudy.console import UserError, warn
from understudy.models import loading, weights

ATTENTION_NAMES = ("FlashAttention", "Flash Attention", "flash_attn", "scaled_dot_product")
"""How transformers spells what could not be had."""


def load_base(
    config: ModelConfig,
    adapter: AdapterConfig | None = None,
    memory: MemoryConfig | None = None,
) -> Any:  # noqa: ANN401
    """The base model on the best device at hand, in evaluation mode, every parameter frozen.

    Args:
        config: Which model, and its number format.
        adapter: Whether the linear layers are held in 4-bit NF4; None: they are not.
        memory: Which attention computes; None: the best of those the model goes with.

    Raises:
        UserError: the weights are not there, gated or out of reach, or the attention cannot be had.
    """
    import torch
    from transformers import AutoModelForCausalLM

    loading.quiet()
    by_rows = memory is not None and memory.attention is Attention.rows
    if by_rows:
        from understudy.kernels import attention

        attention.register()
    quantised: dict[str, Any] = {}
    if adapter is not None and adapter.quantisation is Quantisation.nf4:
        quantised["quantization_config"] = _nf4(config, adapter)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with weights.explained(config), _attention_explained(memory):
        model = AutoModelForCausalLM.from_pretrained(
            weights.locate(config),
            dtype=torch_dtype(config.dtype),
            device_map={"": device},
            use_safetensors=True,
            attn_implementation=memory.attention.value if memory else None,
            trust_remote_code=False,
            **weights.options(config),
            **quantised,
        )
    _keep_gradients(model)
    model.requires_grad_(requires_grad=False)
    if by_rows:
        _fit_attention(model)
    return model.eval()


def _keep_gradients(model: Any) -> None:  # noqa: ANN401
    """Keep bitsandbytes from packing 4-bit layers for inference.

    On a CPU with AVX512-BF16 it does so for good at the first forward pass without gradients, and
    its kernel for packed layers has no derivative: after one evaluation, training would go on with
    gradients in which the base's layers are missing.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def _fit_attention(model: Any) -> None:  # noqa: ANN401
    """Where attention by rows does not go with a model, give it transformers' own, and say so."""
    from understudy.kernels import attention

    reason = attention.misfit(model.train())
    if reason is None:
        return
    instead = attention.plain(model)
    model.set_attn_implementation(instead)
    warn(
        f"memory.attention=rows does not go with {type(model).__name__} ({reason}): "
        f"{instead} computes instead, more slowly"
    )


@contextmanager
def _attention_explained(memory: MemoryConfig | None) -> Iterator[None]:
    try:
        yield
    except (ImportError, ValueError) as error:
        reason = str(error)
        if memory is None or not any(name in reason for name in ATTENTION_NAMES):
            raise
        if memory.attention is Attention.flash_attention_2 and isinstance(error, ImportError):
            raise UserError(
                "memory.attention=flash_attention_2 cannot be had here: "
                f"{reason.rsplit('error: ', maxsplit=1)[-1].rstrip('.')}. It needs the package "
                "flash-attn and a CUDA GPU of Ampere or newer: pip install flash-attn "
                "--no-build-isolation, or set memory.attention=sdpa."
            ) from None
        plain = (Attention.sdpa, Attention.eager)
        others = " or ".join(other.value for other in plain if other is not memory.attention)
        raise UserError(
            f"memory.attention={memory.attention.value} does not go with this model: "
            f"{reason.split('. ', maxsplit=1)[0]}. Set memory.attention={others}."
        ) from None


def torch_dtype(dtype: Dtype) -> Any:  # noqa: ANN401
    """What torch calls the number format."""
    import torch

    return getattr(torch, dtype.value)


def _nf4(config: ModelConfig, adapter: AdapterConfig) -> Any:  # noqa: ANN401
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=adapter.double_quantisation,
        bnb_4bit_compute_dtype=torch_dtype(config.dtype),
    )
