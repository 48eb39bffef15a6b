"""Where base weights lie: on the hub, in a folder, or in a pinned package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.config.model import ModelConfig
from understudy.console import UserError
from understudy.models import loading

PACKAGE_PREFIX = "package:"
TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
"""Everything in a model folder that decides which tokens a text becomes."""


def locate(config: ModelConfig) -> str:
    """What transformers is to load: a folder, or a hub id.

    Raises:
        UserError: the folder does not exist, or no such package is known.
    """
    if config.base.startswith(PACKAGE_PREFIX):
        from understudy.models import embedded

        return str(embedded.folder(config.base.removeprefix(PACKAGE_PREFIX)))
    if _is_folder(config.base):
        folder = Path(config.base).expanduser()
        if not (folder / "config.json").is_file():
            raise UserError(
                f"model.base={config.base} is no model folder: give one with a config.json, or a "
                "hub id such as mistralai/Mistral-7B-Instruct-v0.1."
            )
        return str(folder)
    return config.base


def identity(config: ModelConfig) -> str:
    """What makes the base the one it is: a hash of weights and architecture, or id and revision."""
    if config.base.startswith(PACKAGE_PREFIX):
        return _packaged(config)
    if _is_folder(config.base):
        folder = Path(locate(config))
        return _hash([folder / "config.json", *sorted(folder.glob("*.safetensors"))])
    return _on_hub(config)


def tokenizer_identity(config: ModelConfig) -> str:
    """What makes the tokenizer the one it is, its chat template included; needs no torch.

    For a folder it is a hash of its files' names and contents: a folder that was moved is the same,
    one with another template is not. A file that is not there yet counts once it comes.
    """
    if config.base.startswith(PACKAGE_PREFIX):
        return _packaged(config)
    if _is_folder(config.base):
        folder = Path(locate(config))
        templates = folder.glob("additional_chat_templates/*.jinja")
        named = (folder / name for name in TOKENIZER_FILES)
        return _hash(file for file in (*named, *sorted(templates)) if file.is_file())
    return _on_hub(config)


def _hash(files: Iterable[Path]) -> str:
    return artifacts.fingerprint([[file.name, artifacts.sha256_cached(file)] for file in files])


def _packaged(config: ModelConfig) -> str:
    from understudy.models import embedded

    return embedded.identity(config.base.removeprefix(PACKAGE_PREFIX))


def _on_hub(config: ModelConfig) -> str:
    return f"{config.base}@{config.revision or 'main'}"


def options(config: ModelConfig) -> dict[str, Any]:
    """Revision of a hub model, and whether only what is cached may be used."""
    if config.base.startswith(PACKAGE_PREFIX) or _is_folder(config.base):
        return {}
    return {"revision": config.revision, "local_files_only": loading.hub_is_out_of_reach()}


def _is_folder(base: str) -> bool:
    return base.startswith(("/", "./", "../", "~")) or Path(base).is_dir()


@contextmanager
def explained(config: ModelConfig) -> Iterator[None]:
    """Turn a failed load into a message that says what to do.

    Raises:
        UserError: the model is not there, is gated, or cannot be reached.
    """
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        yield
    except GatedRepoError:
        raise UserError(
            f"{config.base} is gated: accept its terms on the hub, then set HF_TOKEN."
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"the hub has no {config.base}, or it is private: check model.base, or set HF_TOKEN."
        ) from None
    except (HfHubHTTPError, OSError) as error:
        if loading.hub_is_out_of_reach():
            reason = "the hub cannot be reached from here, and it is not in the local cache"
        else:
            reason = re.split(r"\n|\. ", str(error), maxsplit=1)[0]
        raise UserError(
            f"{config.base} could not be loaded: {reason}. Give model.base=<a local folder>, or "
            "model=smollm2_135m, which needs no hub."
        ) from error
