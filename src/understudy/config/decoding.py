"""How models speak: the decoders and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from understudy.config.limits import within


class DecodingMethod(Enum):
    """How the next token is chosen."""

    greedy = "greedy"
    beam = "beam"
    beam_sample = "beam_sample"
    sample = "sample"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """One way of decoding. Fields that its method does not use must stay null."""

    method: DecodingMethod
    beams: int | None = None
    """beam, beam_sample: hypotheses kept."""
    temperature: float | None = None
    """sample, beam_sample: logits are divided by it."""
    top_p: float | None = None
    """sample, beam_sample: smallest set of tokens with this probability (Holtzman et al. 2020)."""
    top_k: int | None = None
    """sample, beam_sample: the k likeliest tokens only."""

    def __post_init__(self) -> None:
        unused = {
            DecodingMethod.greedy: ("beams", "temperature", "top_p", "top_k"),
            DecodingMethod.beam: ("temperature", "top_p", "top_k"),
            DecodingMethod.beam_sample: (),
            DecodingMethod.sample: ("beams",),
        }[self.method]
        for name in unused:
            if getattr(self, name) is not None:
                raise ValueError(
                    f"a {self.method.name} decoder does not use {name}={getattr(self, name)}: "
                    "take it out, or choose another method."
                )
        searches = self.method in (DecodingMethod.beam, DecodingMethod.beam_sample)
        if searches and self.beams is None:
            raise ValueError(f"a {self.method.name} decoder needs beams=<2 or more>.")
        within("beams", self.beams, 2, 64)
        within("temperature", self.temperature, 0.01, 10)
        within("top_p", self.top_p, 0.01, 1)
        within("top_k", self.top_k, 1, 1_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig:
    """Which decoders speak, from how many prompts, how long."""

    decoders: dict[str, DecoderConfig] = field(default_factory=dict)
    """Chosen by name: `decoding=[greedy,beam,nucleus]`."""
    prompts: int = 4
    """Prompts taken from the held-out items."""
    max_new_tokens: int = 120
    seed: int = 42
    """Seed of sampling; every sample's own seed is made from it and from its place."""
    batch: int = 8
    """Prompts decoded together."""

    def __post_init__(self) -> None:
        if not self.decoders:
            raise ValueError(
                "decoding has no decoder: choose some, as in decoding=[greedy,nucleus]."
            )
        within("decoding.prompts", self.prompts, 1, 100_000)
        within("decoding.max_new_tokens", self.max_new_tokens, 1, 1_000_000, unit="tokens")
        within("decoding.batch", self.batch, 1, 4096)
