"""Both recognisers with real weights, and what a person may ask of them in vain."""

from __future__ import annotations

import os
from typing import Any

import pytest

from understudy.config.asr import AsrConfig, AsrEngine, ComputeType
from understudy.console import UserError
from understudy.records.transcript import Word
from understudy.transcribe import asr
from understudy.transcribe.quiet import quiet


@pytest.mark.parametrize("engine", list(AsrEngine))
def test_an_engine_hears_words_with_times_and_confidence(
    engine: AsrEngine, phone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYANNOTE_METRICS_ENABLED", raising=False)
    reached: list[float] = []
    with quiet():
        heard = asr.load(AsrConfig(engine=engine)).hear(phone.samples(), reached.append)
    if engine is AsrEngine.whisperx:
        assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"
    text = " ".join(word.word for word in heard.words)
    for said in ("Oh, hello", "This is Diane in New Jersey", "originally from Chicago"):
        assert said in text
    assert heard.language == "en"
    assert 60 <= len(heard.words) <= 90
    times = [(word.start, word.end) for word in heard.words]
    assert all(s is not None and e is not None and 0 <= s <= e <= 30.1 for s, e in times)
    assert times == sorted(times)
    assert all(word.score is not None and 0 <= word.score <= 1 for word in heard.words)
    assert not any(word.word != word.word.strip() for word in heard.words)
    chicago = next(word for word in heard.words if word.word.startswith("Chicago"))
    assert chicago.start == pytest.approx(17.2, abs=0.7)
    assert reached
    assert reached == sorted(reached)


def piece(text: str, score: float = 1.0, start: float = 0.0) -> Word:
    return Word(word=text, start=start, end=start + 0.5, score=score)


def test_pieces_become_words_between_spaces() -> None:
    pieces = [piece("A"), piece(" 19", 0.9, 1), piece("-year", 0.4, 2), piece(" old", 1, 3)]
    words = asr.whole_words(pieces, "en")
    assert [word.word for word in words] == ["A", "19-year", "old"]
    assert (words[1].start, words[1].end, words[1].score) == (1, 2.5, 0.4)


def test_languages_without_spaces_keep_their_pieces() -> None:
    words = asr.whole_words([piece("你好"), piece("世界"), piece(" ")], "zh")
    assert [word.word for word in words] == ["你好", "世界"]


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"asr\.size=huge is no folder.*large-v3"):
        asr.weights_folder("huge")


def test_an_english_model_is_not_asked_for_german() -> None:
    with pytest.raises(UserError, match=r"tiny\.en knows English only, and asr\.language=de"):
        asr.load(AsrConfig(language="de"))


def test_a_folder_without_weights(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="could not be loaded"):
        asr.load(AsrConfig(size=str(tmp_path)))


@pytest.mark.skipif("asr.device() == 'cuda'", reason="a GPU computes in float16")
def test_a_number_format_that_a_cpu_has_not() -> None:
    with pytest.raises(UserError, match=r"asr\.compute=float16 on cpu.*Try asr\.compute=auto"):
        asr.load(AsrConfig(compute=ComputeType.float16))
