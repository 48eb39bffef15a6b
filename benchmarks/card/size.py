"""How large everything is: as on a GPU, and in a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass

from shapes import MISTRAL_7B

BUDGET_GIB = 24.0
"""Most GPU memory that training may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large everything is."""

    shape: dict[str, int]
    context: int
    steps: int = 16
    rows_per_step: int = 2
    save_every: int = 4
    """Steps between checkpoints to resume from."""
    lr: float
    words: int
    tests: str
    """Which of pytest's markers are run."""
    slack: float = 1
    """How much longer than on a GPU a part may take."""


TINY = {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
FULL = Size(shape=MISTRAL_7B, context=4096, lr=1e-3, words=4000, tests="gpu")
REHEARSED = Size(
    shape=TINY, context=64, steps=12, lr=2e-2, words=300, tests="gpu and not slow", slack=4
)
