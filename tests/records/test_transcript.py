"""Transcripts: whisperX's shape in and out, and what is said of those that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.records import transcript
from understudy.records.transcript import Segment, Transcript, Word

seconds = st.none() | st.floats(0, 1e5, allow_nan=False)
words = st.builds(
    Word,
    word=st.text(max_size=12),
    start=seconds,
    end=seconds,
    score=st.none() | st.floats(0, 1),
    speaker=st.none() | st.text(max_size=8),
)
segments = st.builds(
    Segment,
    text=st.text(max_size=40),
    start=seconds,
    end=seconds,
    speaker=st.none() | st.text(max_size=8),
    words=st.lists(words, max_size=4).map(tuple),
)
transcripts = st.builds(
    Transcript,
    segments=st.lists(segments, max_size=5).map(tuple),
    language=st.none() | st.sampled_from(["en", "de"]),
)


@given(transcripts)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, record: Transcript
) -> None:
    path = tmp_path_factory.mktemp("transcript") / "transcript.json"
    transcript.write(path, record)
    assert transcript.read(path) == record
    assert json.loads(path.read_text(encoding="utf-8"))["language"] == record.language


def test_whisperx_words_without_times_or_speaker_are_read(tmp_path: Path) -> None:
    path = tmp_path / "transcript.json"
    path.write_text(
        '{"segments": [{"start": 0, "end": 1.5, "text": " 20 lamps", "words": '
        '[{"word": "20"}, {"word": "lamps", "start": 0.5, "end": 1.5, "score": 0.9}], '
        '"avg_logprob": -0.2}], "language": "en", "word_segments": []}'
    )
    (segment,) = transcript.read(path).segments
    assert (segment.start, segment.speaker) == (0.0, None)
    assert segment.words[0] == Word(word="20")
    assert segment.words[1].score == 0.9


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff{}", "not UTF-8"),
        (b"[]", "no list `segments`"),
        (b'{"segments": {}}', "no list `segments`"),
        (b'{"segments": [{"start": 0}]}', "segment 1"),
        (b'{"segments": [{"text": "a"}, {"text": 3}]}', "segment 2"),
        (b'{"segments": [{"text": "a", "start": "soon"}]}', "segment 1"),
        (b'{"segments": ["a"]}', "segment 1"),
    ],
)
def test_what_is_no_transcript_is_named_with_its_place(
    tmp_path: Path, raw: bytes, reason: str
) -> None:
    path = tmp_path / "transcript.json"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=reason) as caught:
        transcript.read(path)
    assert str(path) in str(caught.value)
