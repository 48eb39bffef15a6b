"""The embedded default: SmolLM2-135M-Instruct from a pinned package, converted once per user."""

from __future__ import annotations

from pathlib import Path

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.console import UserError, say
from understudy.models import loading, packages

FORMAT = 1
MODELS = {"smollm2_135m": packages.SMOLLM2_135M}


def _pin(name: str) -> packages.PinnedFile:
    if name not in MODELS:
        raise UserError(
            f"model.base=package:{name} is not known: choose one of {', '.join(sorted(MODELS))}."
        )
    return MODELS[name]


def identity(name: str) -> str:
    """SHA-256 of the packaged file and the number of our conversion."""
    return f"{_pin(name).sha256}/{FORMAT}"


def folder(name: str) -> Path:
    """A folder with bf16 safetensors that transformers loads in about a second.

    Raises:
        UserError: the package is not known or cannot be fetched.
    """
    pin = _pin(name)
    target = packages.cache_folder() / "models" / f"{name}-{FORMAT}"
    wanted = Identity(stage="convert", format=FORMAT, config={}, inputs={"gguf": pin.sha256})
    manifest = artifacts.read_manifest(target / "manifest.json")
    if manifest is not None and manifest.identity.hash == wanted.hash:
        return target
    with artifacts.exclusive(target, wait=True):
        if not artifacts.is_done(target / "manifest.json", wanted):
            say(f"converting {name} to safetensors, once (about 30 s)")
            _convert(packages.fetch(pin), target)
            files = [file for file in target.iterdir() if file.name != ".lock"]
            artifacts.seal(target / "manifest.json", wanted, files)
    return target


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    artifacts.clear(target)
    loading.quiet()
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    # transformers takes the GGUF origin for a quantised model and refuses to save it.
    del model.config.quantization_config
    vars(model)["hf_quantizer"] = None
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
