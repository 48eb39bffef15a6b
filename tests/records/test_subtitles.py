"""Subtitles: what is said, once, without markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from understudy.records import subtitles

ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.470 align:start position:0%
 
today<00:00:00.400><c> we</c><00:00:00.560><c> paint</c><00:00:00.799><c> a sign</c>

00:00:02.470 --> 00:00:02.480 align:start position:0%
today we paint a sign
 

00:00:02.480 --> 00:00:05.000 align:start position:0%
today we paint a sign
in<00:00:02.600><c> gold</c><00:00:02.900><c> leaf</c>

00:00:05.000 --> 00:00:05.010 align:start position:0%
in gold leaf
 
"""  # noqa: W293  # as the site writes them

PLAIN = """\ufeffWEBVTT - made by hand

NOTE
this is a remark --> not a cue

STYLE
::cue { color: white }

intro
00:01.000 --> 00:02.500
<v Maren>Tom &amp; I, we <i>never</i> agreed.

00:59:59.000 --> 01:00:01.250
No.

01:00:01.250 --> 01:00:02.000
No.
"""

SUBRIP = (
    "1\r\n00:00:01,000 --> 00:00:02,500\r\n{\\an8}Good evening\r\nand welcome.\r\n\r\n"
    '2\r\n01:00:00,000 --> 01:00:04,250\r\n<font color="red">Bye.</font>\r\n'
)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_rolling_captions_are_said_once(tmp_path: Path) -> None:
    cues = subtitles.read(written(tmp_path, "subtitles.en.vtt", ROLLING))
    assert subtitles.text(cues) == "today we paint a sign in gold leaf"
    assert (cues[0].start, cues[0].end) == (0.16, 2.47)


def test_what_is_said_twice_by_hand_is_kept_twice(tmp_path: Path) -> None:
    cues = subtitles.read(written(tmp_path, "subtitles.en.vtt", PLAIN))
    assert subtitles.text(cues) == "Tom & I, we never agreed. No. No."
    assert [(cue.start, cue.end) for cue in cues][1] == (3599.0, 3601.25)


def test_subrip_with_crlf_is_read(tmp_path: Path) -> None:
    cues = subtitles.read(written(tmp_path, "subtitles.de.srt", SUBRIP))
    assert [cue.text for cue in cues] == ["Good evening and welcome.", "Bye."]
    assert cues[1].end == 3604.25


def test_cues_parted_by_a_space_are_two(tmp_path: Path) -> None:
    cues = subtitles.read(written(tmp_path, "subtitles.srt", SUBRIP.replace("\r\n\r\n", "\n \n")))
    assert [cue.text for cue in cues] == ["Good evening and welcome.", "Bye."]


def test_json3_is_read(tmp_path: Path) -> None:
    events = [
        {"tStartMs": 0, "dDurationMs": 90_000, "id": 1},
        {"tStartMs": 160, "dDurationMs": 2000, "segs": [{"utf8": "today"}, {"utf8": " we"}]},
        {"tStartMs": 2150, "aAppend": 1, "segs": [{"utf8": "\n"}]},
        {"tStartMs": 2160, "dDurationMs": 1000, "segs": [{"utf8": "paint 🎨"}]},
    ]
    path = written(tmp_path, "subtitles.en.json3", json.dumps({"events": events}))
    cues = subtitles.read(path)
    assert subtitles.text(cues) == "today we paint 🎨"
    assert (cues[1].start, cues[1].end) == (2.16, 3.16)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("subtitles.en.vtt", b"WEBVTT\n\n\xff\xfe", "not UTF-8"),
        ("subtitles.en.vtt", b"just some text", "no line of times"),
        ("subtitles.en.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\n\n", "no cue with text"),
        ("subtitles.en.json3", b"[1, 2]", "not json3"),
        ("subtitles.en.json3", b"{", "not json3"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        subtitles.read(tmp_path / name)
    assert name in str(caught.value)


def test_the_spoken_language_goes_before_others(tmp_path: Path) -> None:
    for name in ("subtitles.de.vtt", "subtitles.en-GB.srt"):
        written(tmp_path, name, PLAIN)
    assert subtitles.find(tmp_path, "en") == tmp_path / "subtitles.en-GB.srt"
    assert subtitles.find(tmp_path, None) == tmp_path / "subtitles.de.vtt"
    assert subtitles.find(tmp_path / "nowhere", "en") is None
