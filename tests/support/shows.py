"""Invented shows as a corpus, and the overrides that put a tiny model in the real one's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HOST, GUEST = "Maren Tolliver", "Tobias Wrenfield"


def talk(turns: int, *, host: str = HOST, guest: str = GUEST) -> dict[str, Any]:
    """A transcript in whisperX's shape in which host and guest take turns."""
    segments = []
    for number in range(turns):
        speaker = host if number % 2 == 0 else guest
        text = f"This is turn {number} by {speaker}, and it says a thing or two."
        segments.append(
            {"start": 4.0 * number, "end": 4.0 * number + 3.5, "text": text, "speaker": speaker}
        )
    return {"language": "en", "segments": segments}


def make_corpus(root: Path, name: str, items: int, turns: int) -> Path:
    """Lay out collected items with transcripts below `root`; returns the corpus folder."""
    folder = root / "data" / name
    for number in range(items):
        item = folder / f"episode-{number}"
        item.mkdir(parents=True)
        guest = f"Guest {number}"
        (item / "source.json").write_text(json.dumps({"title": item.name, "guest": guest}))
        (item / "transcript.json").write_text(json.dumps(talk(turns, guest=guest)))
        (item / "manifest.collect.json").write_text("{}")
    host = {"name": HOST, "role": "host", "embedding_model": "none", "references": []}
    (folder / "speakers.json").write_text(json.dumps({"speakers": [host]}))
    return folder


def tiny_overrides(folder: Path) -> list[str]:
    """A tiny model, and nothing tried out: `memory=plain` may be followed by other settings."""
    sizes = ["model.name=tiny", "model.context=256", "model.dtype=fp32"]
    return [f"model.base={folder}", *sizes, "memory=plain"]
