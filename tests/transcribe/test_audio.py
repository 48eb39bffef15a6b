"""Anything PyAV reads becomes 16 kHz mono; what cannot be read says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.transcribe import audio
from understudy.transcribe.audio import SAMPLE_RATE as RATE
from understudy.transcribe.audio import Unusable


def test_another_rate_and_layout_become_16_khz_mono(tmp_path: Path, make: Any) -> None:
    heard = audio.decode(make.mp3(tmp_path / "a.mp3", 2.0))
    assert heard.samples.dtype == np.float32
    assert heard.seconds == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(heard.samples[RATE // 2 : RATE * 3 // 2]))
    assert int(spectrum.argmax()) == 440
    assert 0.3 < float(np.abs(heard.samples).max()) < 0.8


def test_the_header_states_the_length(tmp_path: Path, make: Any) -> None:
    path = make.wav(tmp_path / "a.wav", np.zeros(12_000, np.float32), rate=8000)
    assert audio.stated_seconds(path) == pytest.approx(1.5, abs=0.01)
    assert len(audio.decode(path).samples) == pytest.approx(1.5 * RATE, abs=50)


def test_a_cut_off_file_gives_what_it_holds(tmp_path: Path, make: Any) -> None:
    whole = make.mp3(tmp_path / "a.mp3", 4.0).read_bytes()
    (tmp_path / "b.mp3").write_bytes(whole[: len(whole) // 2])
    assert 1.5 < audio.decode(tmp_path / "b.mp3").seconds < 2.5


def test_damage_in_the_middle_is_counted_and_the_rest_is_kept(tmp_path: Path, make: Any) -> None:
    raw = bytearray(make.mp3(tmp_path / "a.mp3", 4.0).read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 4000] = bytes(4000)
    (tmp_path / "b.mp3").write_bytes(raw)
    heard = audio.decode(tmp_path / "b.mp3")
    assert 3.0 < heard.seconds < 4.2


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").touch()
    with pytest.raises(Unusable, match=r"a\.mp3 has zero bytes"):
        audio.decode(tmp_path / "a.mp3")


def test_text_that_calls_itself_audio(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_text("no audio here\n" * 100, encoding="utf-8")
    with pytest.raises(Unusable, match=r"a\.mp3 (cannot be decoded|has no audio stream)"):
        audio.decode(tmp_path / "a.mp3")
    assert audio.stated_seconds(tmp_path / "a.mp3") == 0.0


def test_a_film_without_sound(tmp_path: Path, make: Any) -> None:
    with pytest.raises(Unusable, match="has no audio stream"):
        audio.decode(make.film(tmp_path / "a.mp4"))
