"""Voices: a name is given only where one voice is near enough and no other is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy.config.voices import VoicesConfig
from understudy.records import transcript, turns, voices
from understudy.records.item import Item
from understudy.records.transcript import Segment, Transcript
from understudy.records.voices import ItemVoices, KnownVoice, Role

CONFIG = VoicesConfig(threshold=0.5, margin=0.1)
AXES = np.eye(4, dtype=np.float32)


def item_voices(*pairs: tuple[str, np.ndarray]) -> ItemVoices:
    rows = [vector / max(1e-9, float(np.linalg.norm(vector))) for _, vector in pairs]
    return ItemVoices(
        embedding_model="m",
        embeddings=np.array(rows, dtype=np.float32),
        starts=np.arange(len(pairs), dtype=np.float64),
        ends=np.arange(len(pairs), dtype=np.float64) + 1,
        speakers=[label for label, _ in pairs],
    )


def known(name: str, vector: np.ndarray, role: Role = Role.host, model: str = "m") -> KnownVoice:
    reference = tuple(float(x) for x in vector)
    return KnownVoice(name=name, role=role, embedding_model=model, references=(reference,))


def test_a_near_voice_bears_its_name_and_the_others_their_labels() -> None:
    heard = item_voices(("S0", AXES[0] + 0.1 * AXES[1]), ("S1", AXES[2]))
    found = voices.resolve(heard, [known("Maren", AXES[0])], CONFIG)
    assert (found["S0"].name, found["S0"].role) == ("Maren", Role.host)
    assert (found["S1"].name, found["S1"].role) == ("S1", None)
    assert found["S1"].similarity == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("vector", "register"),
    [
        (0.4 * AXES[0] + AXES[1], [known("Maren", AXES[0])]),  # below the threshold
        (AXES[0] + AXES[1], [known("Maren", AXES[0]), known("Ada", AXES[1])]),  # no margin
        (AXES[0], []),
    ],
)
def test_a_doubtful_voice_keeps_its_label(vector: np.ndarray, register: list[KnownVoice]) -> None:
    found = voices.resolve(item_voices(("S0", vector)), register, CONFIG)
    assert found["S0"].name == "S0"
    assert found["S0"].role is None


def test_a_name_goes_to_the_nearest_label_only() -> None:
    heard = item_voices(("S0", AXES[0] + 0.5 * AXES[1]), ("S1", AXES[0]))
    found = voices.resolve(heard, [known("Maren", AXES[0])], CONFIG)
    assert [found[label].name for label in ("S0", "S1")] == ["S0", "Maren"]


def test_embeddings_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="enrol the voices again"):
        voices.resolve(item_voices(("S0", AXES[0])), [known("Maren", AXES[0], model="x")], CONFIG)


def test_a_voice_without_references_matches_nobody() -> None:
    empty = KnownVoice(name="Maren", role=Role.host, embedding_model="m", references=())
    found = voices.resolve(item_voices(("S0", AXES[0])), [empty], CONFIG)
    assert found["S0"].name == "S0"


def test_a_voice_heard_only_in_snatches_has_no_centroid() -> None:
    heard = item_voices(("S0", 0 * AXES[0]))
    assert voices.centroid(heard, "S0") is None
    assert voices.resolve(heard, [known("Maren", AXES[0])], CONFIG)["S0"].similarity is None


def test_both_files_read_back(tmp_path: Path) -> None:
    heard = item_voices(("S0", AXES[0]), ("S1", AXES[1]))
    voices.write_item_voices(tmp_path / "voices.npz", heard)
    found = voices.read_item_voices(tmp_path / "voices.npz")
    assert found is not None
    assert found.speakers == heard.speakers
    np.testing.assert_array_equal(found.embeddings, heard.embeddings)
    register = [known("Maren", AXES[0]), known("Ada", AXES[1], role=Role.guest)]
    voices.write_register(tmp_path / "speakers.json", register)
    assert voices.read_register(tmp_path / "speakers.json") == register
    assert voices.read_register(tmp_path / "none.json") == []
    assert voices.read_item_voices(tmp_path / "none.npz") is None


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "voices.npz", embedding_model=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="not a voices file"):
        voices.read_item_voices(tmp_path / "voices.npz")


def test_turns_join_one_voice_and_bear_its_name(tmp_path: Path) -> None:
    said = [
        ("S0", "Welcome back."),
        ("S0", "Hello,  Ada."),
        ("S1", "Hi."),
        ("S1", " "),
        (None, "Hm."),
    ]
    segments = tuple(
        Segment(text=text, start=float(n), end=n + 1.0, speaker=speaker)
        for n, (speaker, text) in enumerate(said)
    )
    item = Item(tmp_path)
    transcript.write(item.transcript_file, Transcript(segments=segments))
    heard = item_voices(("S0", AXES[0]), ("S1", AXES[1]))
    voices.write_item_voices(item.voices_file, heard)
    found = turns.read_turns(item, [known("Maren", AXES[0])], CONFIG)
    assert [(t.speaker, t.text) for t in found] == [
        ("Maren", "Welcome back. Hello, Ada."),
        ("S1", "Hi."),
        (None, "Hm."),
    ]
    assert (found[0].role, found[0].start, found[0].end) == (Role.host, 0.0, 2.0)
    assert sum(t.words for t in found) == 6
