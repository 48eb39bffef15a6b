"""What is left alone, what is done again and what is refused: sorted before a model is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import artifacts
from understudy.artifacts import Identity
from understudy.config import Config
from understudy.console import Exit, UserError
from understudy.records import transcript as transcripts
from understudy.records import voices
from understudy.records.item import Item
from understudy.records.transcript import Segment, Transcript, Word
from understudy.records.voices import ItemVoices, KnownVoice, Role
from understudy.transcribe import episode, plan, stage
from understudy.transcribe.episode import Result

Configure = Callable[..., Config]


def result(text: str) -> Result:
    words = tuple(Word(word=word, speaker="SPEAKER_00") for word in text.split())
    return Result(
        seconds=1.0,
        transcript=Transcript(
            segments=(Segment(text=text, speaker="SPEAKER_00", words=words),), language="en"
        ),
        voices=ItemVoices(
            embedding_model="campplus_zh_en_192",
            embeddings=np.zeros((1, 192), np.float32),
            starts=np.zeros(1),
            ends=np.ones(1),
            speakers=["SPEAKER_00"],
        ),
        notes=(),
    )


def sort(config: Config) -> plan.Plan:
    from understudy.records.item import items

    found = items(config.corpus_folder)
    return plan.make(found, lambda sha: stage.identity(config, sha), fresh=config.fresh)


def finish(config: Config, text: str) -> Path | None:
    """Transcribe the one item there is to do, with a text given instead of a model's."""
    (job,) = sort(config).todo
    return episode.write(job, result(text))


@pytest.fixture
def item(configure: Configure, make: Any, tmp_path: Path) -> Item:
    wav = make.wav(tmp_path / "a.wav", np.zeros(1600, np.float32))
    made: Item = make.item(configure().corpus_folder, "one", ("audio.wav", wav))
    return made


def test_what_is_done_stays_done(configure: Configure, item: Item) -> None:
    assert finish(configure(), "Hello there.") is None
    sorted_again = sort(configure())
    assert (sorted_again.todo, sorted_again.done) == ([], [item])


@pytest.mark.parametrize(
    "override", ["voices.threshold=0.7", "seed=1", "model.context=256", "voices.margin=0.2"]
)
def test_settings_that_a_transcript_does_not_read_change_nothing(
    configure: Configure, item: Item, override: str
) -> None:
    finish(configure(), "Hello there.")
    assert sort(configure(override)).done == [item]


def test_other_settings_are_refused_and_named(configure: Configure, item: Item) -> None:
    finish(configure(), "Hello there.")
    before = {path: path.read_bytes() for path in item.folder.iterdir()}
    with pytest.raises(UserError, match=r"\(one\): asr\.beam 5 -> 2.*fresh=true"):
        stage.run(configure("asr.beam=2"))
    with pytest.raises(UserError, match=r"diarizer\.speakers None -> 2"):
        stage.run(configure("diarizer.speakers=2"))
    assert {path: path.read_bytes() for path in item.folder.iterdir()} == before


def test_fresh_keeps_the_old_transcript_beside_the_new(configure: Configure, item: Item) -> None:
    finish(configure(), "The first text.")
    old = artifacts.read_manifest(item.manifest_file("transcribe"))
    assert old is not None
    kept = finish(configure("asr.beam=2", fresh=True), "The second text.")
    assert kept == item.folder / f"transcript.{old.identity.hash[:8]}.json"
    assert transcripts.read(kept).segments[0].text == "The first text."
    assert transcripts.read(item.transcript_file).segments[0].text == "The second text."
    assert sort(configure("asr.beam=2")).done == [item]


def test_fresh_with_the_same_outcome_keeps_no_copy(configure: Configure, item: Item) -> None:
    finish(configure(), "The same.")
    assert finish(configure(fresh=True), "The same.") is None
    assert len(list(item.folder.glob("transcript*.json"))) == 1


def test_changed_audio_is_transcribed_again(configure: Configure, item: Item, make: Any) -> None:
    finish(configure(), "Old audio.")
    assert item.media_file is not None
    make.wav(item.media_file, np.zeros(3200, np.float32))
    (job,) = sort(configure()).todo
    kept = episode.write(job, result("New audio."))
    assert kept is not None
    assert transcripts.read(kept).segments[0].text == "Old audio."


def test_a_transcript_that_was_changed_by_hand_is_kept(configure: Configure, item: Item) -> None:
    finish(configure(), "Heard so.")
    by_hand = item.transcript_file.read_text(encoding="utf-8").replace("Heard", "Herd")
    item.transcript_file.write_text(by_hand, encoding="utf-8")
    kept = finish(configure(), "Heard so.")
    assert kept is not None
    assert kept.read_text(encoding="utf-8") == by_hand


def test_a_transcript_without_a_manifest_is_not_finished(configure: Configure, item: Item) -> None:
    finish(configure(), "Hello.")
    item.manifest_file("transcribe").unlink()
    assert [job.item for job in sort(configure()).todo] == [item]


def test_imported_transcripts_stay_as_they_are(
    configure: Configure, item: Item, capsys: pytest.CaptureFixture[str]
) -> None:
    transcripts.write(item.transcript_file, result("Imported.").transcript)
    before = item.transcript_file.read_bytes()
    identity = Identity(stage="collect", format=1, config={}, inputs={})
    files = [item.folder / "audio.wav", item.source_file, item.transcript_file]
    artifacts.seal(item.manifest_file("collect"), identity, files)
    outcome = stage.run(configure())
    assert outcome.code is Exit.DONE
    assert item.transcript_file.read_bytes() == before
    assert not item.manifest_file("transcribe").exists()
    assert "all 1 done already" in (told := capsys.readouterr().err)
    assert "1 imported and kept" in told


def test_items_without_audio_are_named(
    configure: Configure, item: Item, make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(configure(), "Hello.")
    make.item(configure().corpus_folder, "only-words")
    assert stage.run(configure()).code is Exit.DONE
    assert "1 without audio (only-words)" in capsys.readouterr().err
    assert item.manifest_file("transcribe").exists()


def test_a_register_of_another_model_is_refused(configure: Configure, item: Item) -> None:
    config = configure()
    stranger = KnownVoice(name="A", role=Role.host, embedding_model="other", references=((1.0,),))
    voices.write_register(config.corpus_folder / "speakers.json", [stranger])
    with pytest.raises(UserError, match="holds voices of other"):
        stage.run(config)
    (config.corpus_folder / "speakers.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="not a register of voices"):
        stage.run(config)
    assert not item.transcript_file.exists()


def test_two_at_once_do_not_meet(configure: Configure, item: Item) -> None:
    config = configure()
    with (
        artifacts.exclusive(config.corpus_folder / ".transcribe"),
        pytest.raises(UserError, match="another process"),
    ):
        stage.run(config)
    assert not item.transcript_file.exists()


def test_a_missing_corpus_says_what_to_run(tmp_path: Path, door: Any) -> None:
    ran = door(tmp_path)
    assert ran.code == Exit.WRONG_INPUT
    assert "there is no corpus" in ran.err
    assert "python -m collect corpus=demo" in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err


def test_the_stage_is_imported_without_heavy_libraries() -> None:
    heavy = {"torch", "av", "pyannote", "faster_whisper", "whisperx", "ctranslate2", "torchaudio"}
    code = (
        "import sys, understudy.transcribe.stage;"
        f"loaded = {heavy!r} & set(sys.modules); sys.exit(', '.join(loaded) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.usefixtures("item")
def test_a_machine_without_the_speech_libraries_is_told_so(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.transcribe.extra.MODULES", ("av", "nowhere.to_be.found"))
    with pytest.raises(UserError, match=r"needs nowhere\.to_be\.found.*understudy\[speech\]"):
        stage.run(configure())
