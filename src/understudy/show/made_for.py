"""The model that a prepared set was made for, as it tells itself."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from understudy import artifacts
from understudy.console import UserError

if TYPE_CHECKING:
    from understudy.chat.encoder import Encoder

SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
"""`7B`, `1.5b`, `135m` in the name of a model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeFor:
    """Whose tokens the rows of a prepared set were counted in."""

    base: str
    """Hub id, folder or `package:<name>`."""
    revision: str | None
    context: int
    """Longest row, in tokens."""
    template: str
    """Hash of the dialect."""

    @property
    def billions(self) -> float | None:
        """Parameters, as the base model's name tells them; None where it does not."""
        found = SIZE.search(self.base.replace("_", "-"))
        if found is None:
            return None
        number = float(found.group(1))
        return number if found.group(2).lower() == "b" else number / 1000

    def encoder(self) -> Encoder:
        """The tokenizer and the dialect of the set.

        Raises:
            UserError: the tokenizer cannot be loaded, or no dialect of today is the set's.
        """
        from understudy.chat.dialect import DIALECTS
        from understudy.config.model import ModelConfig

        try:
            from transformers import AutoTokenizer  # noqa: F401  # what loading a tokenizer needs
        except ImportError:
            raise UserError(
                "tokenizers are not installed here: pip install understudy[train]"
            ) from None
        from understudy.models.tokenizer import load_encoder

        names = [name for name, dialect in DIALECTS.items() if dialect.hash == self.template]
        if not names:
            raise UserError(
                "the chat template that this set was made with is not among today's "
                f"({', '.join(sorted(DIALECTS))}): prepare the set again."
            )
        config = ModelConfig(
            name="shown",
            base=self.base,
            revision=self.revision,
            dialect=names[0],
            context=self.context,
        )
        return load_encoder(config)


def read(folder: Path) -> MadeFor:
    """What the manifest of a prepared set and its `made_for.json` say.

    Raises:
        UserError: there is no manifest, or it does not name tokenizer, context and template.
    """
    manifest = artifacts.read_manifest(folder / "manifest.json")
    if manifest is None:
        raise UserError(f"{folder} has no manifest that says whose tokens its rows are")
    try:
        model = json.loads((folder / "made_for.json").read_text(encoding="utf-8"))
        return MadeFor(
            base=model["base"],
            revision=model["revision"],
            context=int(str(manifest.identity.config["context"])),
            template=manifest.identity.inputs["template"],
        )
    except FileNotFoundError:
        raise UserError(
            f"the manifest of {folder} does not say whose tokens its rows are (no made_for.json)"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the manifest of {folder} does not say whose tokens its rows are ({error!r})"
        ) from None
