"""Adapters on a frozen base: made, saved as PEFT folders, loaded and switched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.config.adapter import AdapterConfig
from understudy.console import RunFailedError, UserError

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def attach(model: Any, config: AdapterConfig) -> Any:  # noqa: ANN401
    """Put a new adapter on the base: A random, B zero, so that nothing changes before step 1.

    The adapter's weights are fp32 whatever the base is held in.

    Raises:
        UserError: no layer of the model bears one of the target names.
    """
    from peft import LoraConfig, get_peft_model

    targets = "all-linear" if config.targets == ["all-linear"] else config.targets
    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # any number will do
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, lora, autocast_adapter_dtype=True)
    except ValueError as error:
        raise UserError(
            f"adapter.targets={config.targets} fit no layer of this model: {error}"
        ) from None


def save(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Write the adapter as a PEFT folder that other tools load as it is."""
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    # peft adds a model card with placeholders: it says nothing about this adapter.
    (folder / "README.md").unlink(missing_ok=True)


def state(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """The adapter's tensors by the names PEFT saves them under."""
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model, save_embedding_layers=False))


def restore(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Put saved adapter weights into an adapter of the same shape.

    Raises:
        UserError: a key is missing, unknown or of another shape; the message lists them.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    own = state(model)
    wrong = sorted(
        (saved.keys() ^ own.keys())
        | {key for key in saved.keys() & own.keys() if saved[key].shape != own[key].shape}
    )
    if wrong:
        raise UserError(
            f"{folder} does not fit this model: {len(wrong)} keys differ, the first "
            f"{', '.join(wrong[:3])}."
        )
    set_peft_model_state_dict(model, saved)


def check(model: Any) -> None:  # noqa: ANN401
    """Refuse an adapter that does nothing: B starts at zero and must not have stayed there.

    Raises:
        RunFailedError: every B is zero or one is not finite.
    """
    ups = [p for name, p in model.named_parameters() if "lora_B" in name and p.requires_grad]
    if not any(bool(p.detach().abs().max() > 0) for p in ups):
        raise RunFailedError("the adapter is all zeros: nothing was learned. Raise optim.lr.")
    if not all(bool(p.detach().isfinite().all()) for p in ups):
        raise RunFailedError("the adapter holds values that are not finite. Lower optim.lr.")


class Switchboard:
    """One base in memory, any number of adapters on it, one of them or none speaking."""

    def __init__(self, base: Any) -> None:  # noqa: ANN401
        self.base = base
        self.peft: Any = None
        self.loaded: set[str] = set()

    def add(self, name: str, folder: Path) -> None:
        """Load an adapter under a name; every key must match.

        Raises:
            UserError: the adapter does not fit the base.
        """
        from peft import PeftModel

        if self.peft is None:
            self.peft = PeftModel.from_pretrained(self.base, folder, adapter_name=name)
        else:
            self.peft.load_adapter(folder, adapter_name=name)
        self.loaded.add(name)

    @contextmanager
    def speaking(self, name: str) -> Iterator[Any]:
        """The model as that checkpoint; `base` is the base alone."""
        if name == "base":
            if self.peft is None:
                yield self.base
                return
            with self.peft.disable_adapter():
                yield self.peft
            return
        assert name in self.loaded, name
        self.peft.set_adapter(name)
        self.peft.eval()
        yield self.peft
