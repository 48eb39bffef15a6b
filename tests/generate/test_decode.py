"""Decoders in transformers' words: nothing inherited, nothing ignored."""

from __future__ import annotations

import pytest

from understudy.config.decoding import DecoderConfig, DecodingMethod
from understudy.generate.decode import settings


def options(**fields: object) -> dict[str, object]:
    return settings(DecoderConfig(**fields), max_new_tokens=7, end_id=2)  # type: ignore[arg-type]


def test_each_method() -> None:
    common = {"max_new_tokens": 7, "eos_token_id": 2, "pad_token_id": 2}
    assert options(method=DecodingMethod.greedy) == {
        **common, "do_sample": False, "num_beams": 1
    }  # fmt: skip
    assert options(method=DecodingMethod.beam, beams=3) == {
        **common, "do_sample": False, "num_beams": 3
    }  # fmt: skip
    sampled = options(method=DecodingMethod.sample, temperature=0.7, top_p=0.9)
    assert (sampled["temperature"], sampled["top_p"], sampled["top_k"]) == (0.7, 0.9, 0)
    assert sampled["num_beams"] == 1
    both = options(method=DecodingMethod.beam_sample, beams=5, temperature=0.7)
    assert (both["do_sample"], both["num_beams"]) == (True, 5)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"method": DecodingMethod.greedy, "temperature": 0.7}, "temperature"),
        ({"method": DecodingMethod.beam, "beams": 3, "top_p": 0.9}, "top_p"),
        ({"method": DecodingMethod.sample, "beams": 3}, "beams"),
        ({"method": DecodingMethod.beam}, "beams"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(fields: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        options(**fields)
