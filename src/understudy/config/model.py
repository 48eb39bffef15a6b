"""The base model: where its weights come from and how it is spoken to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from understudy.config.limits import within


class Dtype(Enum):
    """Number format the base weights are held and computed in."""

    fp32 = "float32"
    bf16 = "bfloat16"
    fp16 = "float16"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A base model from the hub, a local folder, or a pinned package."""

    name: str
    """Short name, used in the names of runs."""
    base: str
    """Hub id (`mistralai/Mistral-7B-Instruct-v0.1`), a folder, or `package:<name>` for weights
    that come with a pinned package (see `understudy/models/packages.py`)."""
    revision: str | None = None
    """Hub revision: a commit, tag or branch. Pin a commit for a result that can be repeated."""
    dialect: str | None = None
    """Chat dialect (see `docs/templates.md`); null: recognised from the tokenizer's template."""
    context: int = 2048
    """Longest row, in tokens, template tokens included."""
    dtype: Dtype = Dtype.bf16
    """Number format of the frozen base weights and of the computation."""

    def __post_init__(self) -> None:
        within("model.context", self.context, 32, 1_048_576, unit="tokens")
