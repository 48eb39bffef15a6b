"""Where base weights lie: on the hub, in a folder, or in a pinned package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy import artifacts
from understudy.config.model import ModelConfig
from understudy.console import UserError
from understudy.models import loading

PACKAGE_PREFIX = "package:"


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
    """What makes the base weights the ones they are: a hash, or hub id and revision."""
    if config.base.startswith(PACKAGE_PREFIX):
        from understudy.models import embedded

        return embedded.identity(config.base.removeprefix(PACKAGE_PREFIX))
    if _is_folder(config.base):
        files = sorted(Path(locate(config)).glob("*.safetensors"))
        return artifacts.fingerprint([artifacts.sha256_cached(file) for file in files])
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
