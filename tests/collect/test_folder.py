from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from understudy.artifacts import read_manifest
from understudy.records import voices
from understudy.records.item import Item, items
from understudy.records.voices import KnownVoice, Role

TRANSCRIPT = {"language": "en", "segments": [{"text": "Welcome back.", "speaker": "Maren"}]}


@pytest.fixture
def show(tmp_path: Path, tones: tuple[bytes, bytes]) -> Path:
    """An audio episode, an imported transcript with all its sidecars, and a video's name."""
    folder = tmp_path / "show"
    folder.mkdir()
    (folder / "01-bees.mp3").write_bytes(tones[0])
    (folder / "02-ferry.transcript.json").write_text(json.dumps(TRANSCRIPT))
    source = {"title": "The Ferry", "guest": "Ada", "licence": "CC-BY-4.0"}
    (folder / "02-ferry.source.json").write_text(json.dumps(source))
    (folder / "02-ferry.en.vtt").write_text("WEBVTT\n")
    (folder / "02-ferry.pt-BR.srt").write_text("1\n")
    info = {"title": "x", "duration": 61, "url": "https://signed", "formats": [{"url": "u"}]}
    (folder / "02-ferry.info.json").write_text(json.dumps(info))
    return folder


def collect(door: Any, *overrides: str) -> tuple[int, str]:
    done = door("source=folder", "source.path=show", "corpus=bench", *overrides)
    assert done.stdout == f"{done.stdout.strip()}\n"[: len(done.stdout)]
    return done.returncode, done.stderr


def test_groups_by_stem(show: Path, room: Any, tmp_path: Path, tones: tuple[bytes, bytes]) -> None:
    for name in ("a.rttm", "b.rttm", "notes.md"):
        (show / name).write_text("x")
    (show / "sub").mkdir()
    code, said = collect(room)
    assert code == 0
    assert "left alone: 3 files (.rttm 2, .md 1), 1 folder" in said
    assert "2 new" in said
    bees, ferry = items(tmp_path / "data/bench")
    assert bees.media_file == bees.folder / "audio.mp3"
    assert bees.media_file.read_bytes() == tones[0]
    assert bees.source().title == "01-bees"
    assert bees.source().origin == "01-bees.mp3"
    assert ferry.source().guest == "Ada"
    assert json.loads(ferry.transcript_file.read_text()) == TRANSCRIPT
    assert {file.name for file in ferry.folder.glob("subtitles.*")} == {
        "subtitles.en.vtt",
        "subtitles.pt-BR.srt",
    }
    assert json.loads((ferry.folder / "info.json").read_text()) == {"title": "x", "duration": 61}
    manifest = read_manifest(ferry.manifest_file("collect"))
    assert manifest is not None
    assert "transcript.json" in manifest.files


def test_stdout_is_the_corpus(show: Path, door: Any, tmp_path: Path) -> None:
    done = door("source=folder", f"source.path={show}", "corpus=bench")
    assert (tmp_path / done.stdout.strip()).resolve() == (tmp_path / "data/bench").resolve()


def test_bad_ones_are_named_and_the_others_go_on(show: Path, room: Any, tmp_path: Path) -> None:
    (show / "bad.transcript.json").write_text("{")
    (show / "zero.mp3").touch()
    (show / "shape.transcript.json").write_text('{"segments": [{"start": 1}]}')
    (show / "odd.source.json").write_text('{"titel": "x"}')
    (show / "odd.wav").write_bytes(b"RIFF")
    (show / "alone.source.json").write_text('{"title": "x"}')
    code, said = collect(room)
    assert code == 3
    assert "bad.transcript.json: not JSON" in said
    assert "zero.mp3 has zero bytes" in said
    assert "shape.transcript.json: segment 1" in said
    assert "odd.source.json: unknown fields titel" in said
    assert "alone: skipped, there is only alone.source.json" in said
    assert said.strip().endswith("collect: 2 new, 4 failed (listed above)")
    assert [item.name for item in items(tmp_path / "data/bench")] == ["01-bees", "02-ferry"]
    zero = Item(tmp_path / "data/bench/zero")
    assert "zero bytes" in str(zero.failure("collect"))
    (show / "zero.mp3").write_bytes((show / "01-bees.mp3").read_bytes())
    assert "1 new, 2 there already, 3 failed" in collect(room)[1]
    assert zero.failure("collect") is None


def test_all_bad_is_a_failure(tmp_path: Path, room: Any) -> None:
    (tmp_path / "show").mkdir()
    (tmp_path / "show/zero.mp3").touch()
    assert collect(room)[0] == 1


def test_again_touches_nothing(show: Path, room: Any, tmp_path: Path) -> None:
    collect(room)
    corpus = tmp_path / "data/bench"
    before = {file: file.stat().st_mtime_ns for file in corpus.rglob("*") if file.name != ".lock"}
    code, said = collect(room)
    assert (code, "2 there already" in said) == (0, True)
    after = {file: file.stat().st_mtime_ns for file in corpus.rglob("*") if file.name != ".lock"}
    assert after == before
    os.utime(show / "01-bees.mp3")
    assert "2 there already" in collect(room)[1]


def test_a_changed_file_refreshes_its_item_only(
    show: Path, room: Any, tmp_path: Path, tones: tuple[bytes, bytes]
) -> None:
    collect(room)
    bees = Item(tmp_path / "data/bench/01-bees")
    bees.transcript_file.write_text(json.dumps(TRANSCRIPT))
    kept = {"edits.jsonl": "{}\n", "target.summary.md": "short", "voices.npz": "x"}
    for name, text in kept.items():
        (bees.folder / name).write_text(text)
    (show / "01-bees.mp3").unlink()
    (show / "01-bees.wav").write_bytes(b"RIFF" + tones[1])
    code, said = collect(room)
    assert (code, "1 changed, 1 there already" in said) == (0, True)
    assert bees.media_file == bees.folder / "audio.wav"
    assert not (bees.folder / "audio.mp3").exists()
    assert json.loads(bees.transcript_file.read_text()) == TRANSCRIPT
    assert {name: (bees.folder / name).read_text() for name in kept} == kept


def test_transcript_that_was_made_here_stays(show: Path, room: Any, tmp_path: Path) -> None:
    collect(room)
    bees = Item(tmp_path / "data/bench/01-bees")
    bees.transcript_file.write_text('{"segments": []}')
    (show / "01-bees.transcript.json").write_text(json.dumps(TRANSCRIPT))
    code, said = collect(room)
    assert code == 0
    assert "01-bees: the transcript that was made here is kept" in said
    assert bees.transcript_file.read_text() == '{"segments": []}'
    assert collect(room, "fresh=true")[0] == 0
    assert bees.transcript_file.read_text() == '{"segments": []}'


def test_an_imported_transcript_follows_its_source(show: Path, room: Any, tmp_path: Path) -> None:
    collect(room)
    other = {"segments": [{"text": "Changed."}]}
    (show / "02-ferry.transcript.json").write_text(json.dumps(other))
    assert "1 changed" in collect(room)[1]
    ferry = Item(tmp_path / "data/bench/02-ferry")
    assert json.loads(ferry.transcript_file.read_text()) == other
    assert "2 there already" in collect(room)[1]


def test_a_bad_change_keeps_what_is_there(show: Path, room: Any, tmp_path: Path) -> None:
    collect(room)
    (show / "02-ferry.transcript.json").write_text("{")
    assert collect(room)[0] == 3
    ferry = Item(tmp_path / "data/bench/02-ferry")
    assert json.loads(ferry.transcript_file.read_text()) == TRANSCRIPT
    assert ferry in items(tmp_path / "data/bench")


@pytest.mark.usefixtures("show")
def test_damage_is_mended_and_a_persons_title_kept(
    room: Any, tmp_path: Path, tones: tuple[bytes, bytes]
) -> None:
    collect(room)
    bees = Item(tmp_path / "data/bench/01-bees")
    (bees.folder / "audio.mp3").write_bytes(tones[0][:100])
    assert "1 changed" in collect(room)[1]
    assert (bees.folder / "audio.mp3").read_bytes() == tones[0]
    bees.source_file.write_text('{"title": "Bees, at last"}')
    assert "2 there already" in collect(room)[1]
    assert bees.source().title == "Bees, at last"
    (bees.folder / "audio.mp3").unlink()
    _code, said = collect(room)
    assert "01-bees: its source.json was changed by hand and is kept" in said
    assert bees.source().title == "Bees, at last"
    assert "2 there already" in collect(room)[1]
    collect(room, "fresh=true")
    assert bees.source().title == "01-bees"
    bees.source_file.write_text("{")
    assert "1 changed" in collect(room)[1]
    assert bees.source().title == "01-bees"


@pytest.mark.usefixtures("show")
def test_an_item_half_replaced_is_not_finished(room: Any, tmp_path: Path) -> None:
    collect(room)
    bees = Item(tmp_path / "data/bench/01-bees")
    (bees.folder / "audio.wav/in-the-way").mkdir(parents=True)
    (tmp_path / "show/01-bees.mp3").rename(tmp_path / "show/01-bees.wav")
    code, said = collect(room)
    assert (code, "1 there already, 1 failed" in said) == (3, True)
    assert bees not in items(tmp_path / "data/bench")
    shutil.rmtree(bees.folder / "audio.wav")
    assert "1 changed, 1 there already" in collect(room)[1]
    assert bees.media_file == bees.folder / "audio.wav"
    names = {file.name for file in bees.folder.iterdir()}
    assert names == {".collect.json", "audio.wav", "manifest.collect.json", "source.json"}


def test_stems_with_the_same_slug_stay_apart(
    tmp_path: Path, room: Any, tones: tuple[bytes, bytes]
) -> None:
    (tmp_path / "show").mkdir()
    (tmp_path / "show/a b.mp3").write_bytes(tones[0])
    assert "1 new" in collect(room)[1]
    (tmp_path / "show/a&b.mp3").write_bytes(tones[1])
    assert "1 new, 1 there already" in collect(room)[1]
    names = [item.name for item in items(tmp_path / "data/bench")]
    assert names[0] == "a-b"
    assert names[1].startswith("a-b-")
    assert "2 there already" in collect(room)[1]


def test_another_folders_episode_replaces_nothing(
    show: Path, room: Any, tmp_path: Path, tones: tuple[bytes, bytes]
) -> None:
    collect(room)
    other = tmp_path / "other"
    other.mkdir()
    (other / "01-bees.mp3").write_bytes(tones[1])
    done = room("source=folder", "source.path=other", "corpus=bench")
    assert done.returncode == 1
    assert "is there already, with other files from" in done.stderr
    bees = Item(tmp_path / "data/bench/01-bees")
    assert (bees.folder / "audio.mp3").read_bytes() == tones[0]
    show.rename(tmp_path / "moved")
    done = room("source=folder", "source.path=moved", "corpus=bench")
    assert (done.returncode, "2 there already" in done.stderr) == (0, True)
    done = room("source=folder", "source.path=other", "corpus=bench", "fresh=true")
    assert done.returncode == 0
    assert (bees.folder / "audio.mp3").read_bytes() == tones[1]


def test_tricky_names(tmp_path: Path, room: Any, tones: tuple[bytes, bytes]) -> None:
    (tmp_path / "show").mkdir()
    stems = ["..tricky", "line\nbreak", "\u202egpj.exe", "t" * 240, "ж" * 100, "-rf", "%(id)s"]
    for stem in stems:
        (tmp_path / f"show/{stem}.mp3").write_bytes(tones[0])
    (tmp_path / "show/long.mp3").write_bytes(tones[0])
    (tmp_path / "show/long.source.json").write_text(json.dumps({"title": "T" * 300}))
    code, said = collect(room)
    assert code == 0
    assert "8 new" in said
    found = items(tmp_path / "data/bench")
    assert len(found) == 8
    assert all(item.folder.resolve().parent == tmp_path / "data/bench" for item in found)
    assert all(item.name.isprintable() and item.source().title.isprintable() for item in found)


def test_register_is_copied_once(show: Path, room: Any, tmp_path: Path) -> None:
    known = [KnownVoice(name="Maren", role=Role.host, embedding_model="m", references=((1.0,),))]
    voices.write_register(show / "speakers.json", known)
    collect(room)
    register = tmp_path / "data/bench/speakers.json"
    assert voices.read_register(register) == known
    voices.write_register(show / "speakers.json", [])
    code, said = collect(room)
    assert (code, "is kept: only a person" in said) == (0, True)
    assert voices.read_register(register) == known
    register.unlink()
    (show / "speakers.json").write_text("{}")
    code, said = collect(room)
    assert (code, "speakers.json: not a register" in said) == (3, True)
    assert not register.exists()


def test_first_and_two_of_a_kind(show: Path, room: Any, tmp_path: Path) -> None:
    (show / "01-bees.wav").write_bytes(b"RIFF")
    code, said = collect(room, "source.first=1")
    assert code == 0
    assert "01-bees.wav: left alone, 01-bees has another one of its kind" in said
    assert "the first 1 of 2" in said
    assert [item.name for item in items(tmp_path / "data/bench")] == ["01-bees"]


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["source=folder"], "source.path is not set"),
        (["source=folder", "source.path=nowhere"], "source.path=nowhere is no folder"),
        (["source=folder", "source.path=empty"], "has nothing to collect: audio"),
        (["source=feed"], "source.url is not set"),
        (["source=urls"], "source.url is not set"),
        (["source=feed", "source.url=file:///etc/passwd"], "its scheme is file"),
        (["source=urls", "source.url=http://10.0.0.1/a?v=b"], "its scheme is http"),
        (["source=urls", "source.url=https://10.0.0.1/a?v=b"], "10.0.0.1 is not a public address"),
        (["source=feed", "source.url=https://127.0.0.1/a?v=b&c='d'"], "127.0.0.1 is this machine"),
    ],
)
def test_wrong_sources(tmp_path: Path, room: Any, overrides: list[str], why: str) -> None:
    (tmp_path / "empty").mkdir()
    done = room("corpus=bench", *overrides)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data/bench").exists()


def test_the_door_takes_an_address_as_it_is_pasted(tmp_path: Path, door: Any) -> None:
    done = door("source=urls", "source.url=https://127.0.0.1/watch?v=a_b&t='1'", "corpus=bench")
    assert (done.returncode, done.stdout) == (2, "")
    assert "127.0.0.1 is this machine" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
