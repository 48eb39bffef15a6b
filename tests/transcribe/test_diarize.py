"""The real pyannote pipeline, and the voices it tells apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.config.diarizer import DiarizerConfig, DiarizerKind
from understudy.console import UserError
from understudy.transcribe import diarize
from understudy.transcribe.assign import Stretch
from understudy.transcribe.embed import MODEL_ID, Embedder, check, item_voices
from understudy.transcribe.quiet import quiet


@pytest.fixture(scope="module")
def package() -> diarize.Diarizer:
    with quiet():
        return diarize.load(DiarizerConfig())


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


def test_two_voices_are_found_unprompted(package: diarize.Diarizer, phone: Any) -> None:
    found = package.diarize(phone.samples())
    assert {stretch.speaker for stretch in found.stretches} == {"SPEAKER_00", "SPEAKER_01"}
    pairs = zip(found.exclusive, found.exclusive[1:], strict=False)
    assert all(one.end <= two.start + 0.001 for one, two in pairs)
    assert sum(s.end - s.start for s in found.stretches) > sum(
        s.end - s.start for s in found.exclusive
    )


def test_torch_has_its_threads_back(package: diarize.Diarizer) -> None:
    import torch

    before = torch.get_num_threads()
    package.diarize(np.zeros(16_000 * 3, np.float32))
    assert torch.get_num_threads() == before


def test_no_voice_in_silence(package: diarize.Diarizer) -> None:
    assert package.diarize(np.zeros(16_000 * 12, np.float32)).exclusive == ()


def test_the_number_of_voices_can_be_given(phone: Any) -> None:
    with quiet():
        one = diarize.load(DiarizerConfig(speakers=1))
    found = one.diarize(phone.samples())
    assert {stretch.speaker for stretch in found.exclusive} == {"SPEAKER_00"}


def test_without_diarisation_all_is_one_voice() -> None:
    found = diarize.load(DiarizerConfig(kind=DiarizerKind.none)).diarize(np.zeros(32_000, "f4"))
    assert found.exclusive == (Stretch(start=0.0, end=2.0, speaker="SPEAKER_00"),)


def test_no_telemetry() -> None:
    code = (
        "from understudy.config.diarizer import DiarizerConfig;"
        "from understudy.transcribe import diarize; diarize.load(DiarizerConfig());"
        "from pyannote.audio.telemetry.metrics import is_metrics_enabled;"
        "raise SystemExit(is_metrics_enabled())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYANNOTE_METRICS_ENABLED"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


def test_a_gated_pipeline_says_how_to_get_access(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "pyannote/speaker-diarization-community-1"
    config = DiarizerConfig(kind=DiarizerKind.pretrained, pipeline=name)
    with quiet(), pytest.raises(UserError, match=r"gated: accept the conditions.*HF_TOKEN"):
        diarize.load(config)


def test_a_folder_that_holds_no_pipeline(tmp_path: Path) -> None:
    config = DiarizerConfig(kind=DiarizerKind.pretrained, pipeline=str(tmp_path))
    with quiet(), pytest.raises(UserError, match="give a folder with a pyannote config"):
        diarize.load(config)


def test_the_same_voice_is_near_and_another_far(embedder: Embedder, phone: Any) -> None:
    turns = [
        Stretch(start=10.6, end=14.4, speaker="D"),
        Stretch(start=18.6, end=21.4, speaker="D"),
        Stretch(start=14.8, end=17.9, speaker="S"),
        Stretch(start=21.9, end=27.8, speaker="S"),
        Stretch(start=6.7, end=7.1, speaker="D"),
    ]
    voices = item_voices(phone.samples(), turns, embedder)
    assert voices.embedding_model == MODEL_ID
    assert voices.embeddings.shape == (5, 192)
    assert np.linalg.norm(voices.embeddings, axis=1)[:4] == pytest.approx(1)
    assert not voices.embeddings[4].any()
    near = voices.embeddings @ voices.embeddings.T
    assert min(near[0, 1], near[2, 3]) > 0.65
    assert max(near[0, 2], near[0, 3], near[1, 2], near[1, 3]) < 0.5


def test_an_item_without_turns(embedder: Embedder) -> None:
    voices = item_voices(np.zeros(16_000, np.float32), [], embedder)
    assert voices.embeddings.shape == (0, 192)


def test_another_embedding_model_is_not_known() -> None:
    with pytest.raises(UserError, match=f"choose {MODEL_ID}"):
        check("ecapa")
