"""What this runs on."""

from __future__ import annotations

from typing import Any

from surroundings import Card, product_rate, surroundings

PACKAGES = ("understudy", "torch", "transformers", "peft", "bitsandbytes", "accelerate")


def machine(*, rehearse: bool) -> dict[str, Any]:
    """Device, hardware, versions, commit; a GPU's matrix products, for the other figures' scale."""
    card = None if rehearse else Card.found()
    known = surroundings(*PACKAGES, card=card)
    if card is None:
        return {"device": "cpu", "bf16": True, **known}
    rate = product_rate("bfloat16" if card.bf16 else "float16")
    return {
        "device": card.name,
        "gib": card.gib,
        "bf16": card.bf16,
        **known,
        "product_tflops": round(rate / 1e12, 1),
    }
