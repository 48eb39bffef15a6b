"""Subtitles as text with times: WebVTT, SubRip, and YouTube's json3."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".vtt", ".srt", ".json3")
"""Formats that are read, the preferred one first."""

TIMES = re.compile(
    r"^\s*((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})\s+-->\s+((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})"
)
INLINE_TIME = re.compile(r"<(?:\d+:)?\d{2}:\d{2}\.\d{3}>")
TAG = re.compile(r"</?[A-Za-z0-9][^<>]*>|\{\\[^{}]*\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """What is shown on the screen at one time."""

    text: str
    start: float
    """Seconds."""
    end: float


def find(folder: Path, wanted: str | None) -> Path | None:
    """The item's `subtitles.<lang>.<suffix>`: of this language if there is one, else the first."""
    found = [f for s in SUFFIXES for f in sorted(folder.glob(f"subtitles*{s}"))]
    spoken = [f for f in found if wanted is not None and language(f) == wanted]
    return next(iter(spoken or found), None)


def language(file: Path) -> str | None:
    """ISO 639-1 code in a file's name; None where it has none."""
    parts = file.name.split(".")
    return parts[1].replace("_", "-").split("-")[0].lower() if len(parts) > 2 else None  # noqa: PLR2004


def read(path: Path) -> list[Cue]:
    """The cues of a subtitle file, markup removed, each line said once.

    YouTube's automatic captions roll: a cue repeats the line before it. In a file with times
    inside the lines, which only those have, a line that stands already is not taken again.

    Raises:
        ValueError: not UTF-8, or not of the format its name says; the message names the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    try:
        cues = _json3(json.loads(text)) if path.suffix == ".json3" else _blocks(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not {path.suffix.removeprefix('.')} ({error})") from None
    if not cues:
        raise ValueError(f"{path}: no cue with text")
    return cues


def text(cues: list[Cue]) -> str:
    """What is said, as running text."""
    return " ".join(cue.text for cue in cues)


def _json3(record: dict[str, Any]) -> list[Cue]:
    cues = []
    for event in record["events"]:
        said = "".join(str(segment.get("utf8", "")) for segment in event.get("segs") or [])
        start = float(event.get("tStartMs", 0)) / 1000
        length = float(event.get("dDurationMs", 0)) / 1000
        if line := " ".join(said.split()):
            cues.append(Cue(text=line, start=start, end=start + length))
    return cues


def _blocks(text: str) -> list[Cue]:
    """WebVTT and SubRip: a line of times, then the text."""
    rolling = INLINE_TIME.search(text) is not None
    cues: list[Cue] = []
    shown: list[str] = []
    for start, end, lines in _timed(text):
        plain = [line for line in map(_plain, lines) if line]
        fresh = [line for line in plain if line not in shown] if rolling else plain
        shown = plain
        if fresh:
            cues.append(Cue(text=" ".join(fresh), start=start, end=end))
    if not cues and "-->" not in text:
        raise ValueError("no line of times")
    return cues


def _timed(text: str) -> Iterator[tuple[float, float, list[str]]]:
    """Cues end at an empty line (one with a space is text, says WebVTT) or at the next times."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    cue: tuple[float, float, list[str]] | None = None
    for line in [*lines, ""]:
        times = TIMES.match(line)
        if cue is not None and (times or not line):
            if times and cue[2] and cue[2][-1].strip().isdecimal():
                cue[2].pop()
            yield cue
            cue = None
        if times:
            cue = (_seconds(times[1]), _seconds(times[2]), [])
        elif cue is not None:
            cue[2].append(line)


def _seconds(stamp: str) -> float:
    whole = 0.0
    for part in stamp.replace(",", ".").split(":"):
        whole = whole * 60 + float(part)
    return whole


def _plain(line: str) -> str:
    return " ".join(html.unescape(TAG.sub("", INLINE_TIME.sub("", line))).split())
