"""A voice without words is heard a second time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from understudy.config.asr import AsrConfig
from understudy.records.transcript import Word
from understudy.transcribe import asr, audio
from understudy.transcribe.assign import Stretch
from understudy.transcribe.gaps import Gap, fill, gaps


def word(text: str, start: float | None, end: float | None) -> Word:
    return Word(word=text, start=start, end=end)


def stretch(start: float, end: float) -> Stretch:
    return Stretch(start=start, end=end, speaker="SPEAKER_00")


def test_gaps_before_between_and_after_words() -> None:
    words = [word("a", 5, 6), word("b", 6.2, 7), word("c", 12, 13)]
    found = gaps(words, [stretch(1, 7), stretch(8, 9.5), stretch(10, 20)])
    assert found == [
        Gap(start=1, end=5, before=0),
        Gap(start=8, end=12, before=2),
        Gap(start=13, end=20, before=3),
    ]


def test_silence_and_short_noises_are_no_gaps() -> None:
    assert gaps([word("a", 0, 1), word("b", 9, 10)], [stretch(0, 2), stretch(8.5, 10)]) == []
    assert gaps([], []) == []


def test_words_without_times_are_passed_over() -> None:
    words = [word("a", 0, 1), word("7", None, None), word("b", 1.5, 2)]
    assert gaps(words, [stretch(0, 2)]) == []


@pytest.fixture(scope="module")
def recogniser() -> asr.Recogniser:
    return asr.load(AsrConfig())


def test_a_sentence_that_was_left_out_comes_back(recogniser: asr.Recogniser, phone: Any) -> None:
    samples = phone.samples()
    whole = recogniser.hear(samples, lambda _: None).words
    left_out = [w for w in whole if w.start is not None and 17.9 <= w.start < 21.7]
    assert len(left_out) >= 8
    kept = [w for w in whole if w not in left_out]
    filled = fill(kept, [stretch(18.0, 21.7)], samples, recogniser)
    text = [w.word for w in filled.words]
    place = text.index("Chicago.") + 1
    assert "Chicago" in " ".join(text[place : place + len(left_out)])
    assert abs(filled.found - len(left_out)) <= 2
    assert filled.silent_seconds == 0
    starts = [w.start for w in filled.words if w.start is not None]
    assert starts == sorted(starts)


def test_a_voice_that_stays_without_words_is_told(
    recogniser: asr.Recogniser, tmp_path: Path, make: Any
) -> None:
    samples = audio.decode(make.mp3(tmp_path / "tone.mp3", 6.0)).samples
    filled = fill([], [stretch(1, 5)], samples, recogniser)
    assert (filled.words, filled.found, filled.silent_seconds) == ((), 0, 4)
