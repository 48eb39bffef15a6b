"""LoRA and its kin on a frozen base: attached, saved as PEFT folders, put back, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.config.adapter import AdapterConfig, AdapterMethod
from understudy.console import RunFailedError, UserError
from understudy.models import keys
from understudy.models.base import torch_dtype

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
OWN = "default"
"""What PEFT calls the adapter of a model that has one."""


def attach(base: Any, config: AdapterConfig) -> Any:  # noqa: ANN401  # transformers has no types
    """Put a new adapter on the base: A random, B zero, so that nothing changes before step 1.

    The adapter's weights are in `adapter.dtype`, whatever the base is held in.

    Raises:
        UserError: no layer of the model bears one of the target names.
    """
    from peft import LoraConfig

    targets = "all-linear" if config.targets == ["all-linear"] else config.targets
    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # any number will do
        lora_dropout=config.dropout,
        target_modules=targets,
        use_rslora=config.method is AdapterMethod.rslora,
        use_dora=config.method is AdapterMethod.dora,
        task_type="CAUSAL_LM",
    )
    model = _put_on(base, lora, OWN)
    for layer in _layers(model):
        if OWN in layer.lora_magnitude_vector:
            _measure_again(layer)
        else:
            layer.register_forward_pre_hook(_keep_format)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch_dtype(config.dtype))
    return model


def add(model: Any, folder: Path, name: str) -> Any:  # noqa: ANN401
    """Put a saved adapter, named `name`, on a base or beside the adapters that are on it.

    Raises:
        UserError: it does not fit the base; the message lists the keys.
    """
    from peft import PeftConfig

    model = _put_on(model, PeftConfig.from_pretrained(str(folder)), name)
    restore(model, folder, name)
    return model


def save(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Write the adapter as a PEFT folder that other tools load as it is."""
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    # peft adds a model card with placeholders: it says nothing about this adapter.
    (folder / "README.md").unlink(missing_ok=True)


def restore(model: Any, folder: Path, name: str = OWN) -> None:  # noqa: ANN401
    """Put saved weights into an adapter of the same shape.

    Raises:
        UserError: a key is missing, unknown or of another shape; the message lists them.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    saved = load_file(folder / WEIGHTS_FILE)
    own = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    # peft itself only warns of keys that are missing and passes over those that are too many.
    keys.must_match(folder, saved, own)
    set_peft_model_state_dict(model, saved, adapter_name=name)


def check(model: Any) -> None:  # noqa: ANN401
    """Refuse an adapter that does nothing: B starts at zero and must not have stayed there.

    Raises:
        RunFailedError: every B is zero, or a trained value is not finite.
    """
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if not all(bool(p.isfinite().all()) for p in trained.values()):
        raise RunFailedError("the adapter holds values that are not finite. Lower optim.lr.")
    if not any(bool(p.any()) for name, p in trained.items() if "lora_B" in name):
        raise RunFailedError("the adapter is all zeros: nothing was learned. Raise optim.lr.")


def _put_on(model: Any, config: Any, name: str) -> Any:  # noqa: ANN401
    """An adapter with fresh weights in fp32, on a base or beside others."""
    from peft import get_peft_model

    try:
        if not hasattr(model, "get_base_model"):
            return get_peft_model(model, config, adapter_name=name, autocast_adapter_dtype=True)
        model.add_adapter(name, config, autocast_adapter_dtype=True)
    except ValueError as error:
        raise UserError(
            f"adapter.targets={config.target_modules} fit no layer of this model: {error}"
        ) from None
    return model


def _layers(model: Any) -> list[Any]:  # noqa: ANN401
    """The adapted layers."""
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def _measure_again(layer: Any) -> None:  # noqa: ANN401
    """Give DoRA its magnitudes, the norms of W's rows, in fp32.

    peft takes them in the base's format, and compares them with norms in fp32 in every forward
    pass: rounded to bf16 they would change what the base says by some tenths of a percent before
    anything is learned.
    """
    layer.lora_magnitude_vector[OWN].update_layer(
        base_layer=layer.get_base_layer(),
        lora_A=layer.lora_A[OWN].weight.detach(),
        lora_B=layer.lora_B[OWN].weight.detach(),
        scaling=layer.scaling[OWN],
    )


def _keep_format(layer: Any, inputs: tuple[Any, ...]) -> None:  # noqa: ANN401
    """Leave the input's format to autocast where that is on.

    peft brings the input to the adapter's fp32 first, and autocast brings it back: the same product
    in bf16, but each of q, k and v then keeps a copy of its own for the backward pass.
    """
    import torch

    layer.cast_input_dtype_enabled = not torch.is_autocast_enabled(inputs[0].device.type)
