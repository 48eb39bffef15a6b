"""Loads base models: plain or in 4-bit, never with code from the hub."""

from __future__ import annotations

from typing import Any

from understudy.config.adapter import AdapterConfig, Quantisation
from understudy.config.memory import Attention, MemoryConfig
from understudy.config.model import Dtype, ModelConfig
from understudy.models import loading, weights


def load_base(
    config: ModelConfig,
    adapter: AdapterConfig | None = None,
    memory: MemoryConfig | None = None,
) -> Any:  # noqa: ANN401
    """The base model on the best device at hand, in evaluation mode, every parameter frozen.

    Args:
        config: Which model, and its number format.
        adapter: Whether the linear layers are held in 4-bit NF4; None: they are not.
        memory: Which attention computes; None: torch's own.

    Raises:
        UserError: the weights are not there, gated or out of reach.
    """
    import torch
    from transformers import AutoModelForCausalLM

    loading.quiet()
    quantised: dict[str, Any] = {}
    if adapter is not None and adapter.quantisation is Quantisation.nf4:
        quantised["quantization_config"] = _nf4(config, adapter)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with weights.explained(config):
        model = AutoModelForCausalLM.from_pretrained(
            weights.locate(config),
            dtype=torch_dtype(config.dtype),
            device_map={"": device},
            use_safetensors=True,
            attn_implementation=(memory.attention if memory else Attention.sdpa).value,
            trust_remote_code=False,
            **weights.options(config),
            **quantised,
        )
    model.requires_grad_(requires_grad=False)
    return model.eval()


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
