"""Cards: how long training takes on one, estimated from published figures."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.console import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """How fast a card trained a 4-bit model with LoRA (QLoRA), as somebody published it."""

    title: str
    tokens_per_second: float
    billions: float
    """Parameters of the model that was trained."""
    source: str


A100_TOKENS_PER_SECOND = 2300.0
A100_TFLOPS, L4_TFLOPS, T4_TFLOPS = 312.0, 121.0, 65.0
"""Dense half-precision tensor peaks, from the maker's data sheets."""


def _scaled(title: str, tflops: float) -> Card:
    """A card nobody published a figure for: the A100's, by the ratio of the peaks."""
    return Card(
        title=title,
        tokens_per_second=A100_TOKENS_PER_SECOND * tflops / A100_TFLOPS,
        billions=7,
        source=f"not measured: the A100's figure x {tflops:g}/{A100_TFLOPS:g} TFLOP/s of the "
        "data sheets",
    )


CARDS = {
    "rtx4090": Card(
        title="GeForce RTX 4090",
        tokens_per_second=2413,
        billions=8,
        source="torchtune README: Llama-3.1-8B QLoRA, rows packed to 2,048 tokens, batch 2",
    ),
    "a100": Card(
        title="A100 40 GB",
        tokens_per_second=A100_TOKENS_PER_SECOND,
        billions=7,
        source="LLaMA-Factory wiki: Llama-2-7B in 4 bits, LoRA r=8, batch 1, 2.3 to 3.5 thousand; "
        "the lower end",
    ),
    "p6000": Card(
        title="Quadro P6000",
        tokens_per_second=115,
        billions=7,
        source="a forerunner of this project: Mistral-7B in 4 bits, 323 rows of 4,096 tokens, "
        "5 epochs in about 16 h",
    ),
    "l4": _scaled("L4", L4_TFLOPS),
    "t4": _scaled("T4", T4_TFLOPS),
}
"""By the name a person types."""
FAR = 2.5
"""A model that is so many times larger or smaller than the measured one uses a card otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a person wants estimated."""

    card: Card
    epochs: int
    """Passes over the training rows."""
    price: float | None = None
    """Of an hour of the card, in any currency."""
    billions: float | None = None
    """Parameters of the base model, where its name does not tell them."""

    def hours(self, tokens: int, billions: float) -> float:
        """Hours of training steps.

        Work per token is taken as proportional to the parameters; held-out scoring, loading and
        padding are not in it.

        Args:
            tokens: Of all training rows, once.
            billions: Parameters of the base model.
        """
        rate = self.card.tokens_per_second * self.card.billions / billions
        return tokens * self.epochs / rate / 3600

    def lines(self, tokens: int, billions: float) -> list[str]:
        """The estimate in words, its source with it."""
        hours = self.hours(tokens, billions)
        rate = tokens * self.epochs / (hours * 3600) if hours else 0.0
        cost = "give --price PER_HOUR for the price"
        if self.price is not None:
            cost = f"price about {hours * self.price:,.2f} at {self.price:g} an hour"
        return [
            (
                f"estimate for one {self.card.title}: about {_duration(hours)} "
                f"({tokens:,} tokens x {self.epochs} epochs at {rate:,.0f} tokens/s for "
                f"{billions:g}B parameters); {cost}"
            ),
            f"from {self.card.source}; scaled by parameters: an estimate, not a measurement",
            *self._doubts(billions),
        ]

    def _doubts(self, billions: float) -> list[str]:
        far = max(billions / self.card.billions, self.card.billions / billions)
        if far <= FAR:
            return []
        return [
            f"the figure is of a {self.card.billions:g}B model, far from {billions:g}B: a guess"
        ]


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"


def find(name: str) -> Card:
    """The card of that name, however it is spelled: `RTX 4090`, `rtx-4090`, `rtx4090`.

    Raises:
        UserError: no figure is known for it.
    """
    plain = "".join(character for character in name.lower() if character.isalnum())
    if plain not in CARDS:
        raise UserError(
            f"--card {name}: no figure is known for it; choose one of {', '.join(sorted(CARDS))}."
        )
    return CARDS[plain]
