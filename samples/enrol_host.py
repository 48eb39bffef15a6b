"""Make `show/speakers.json`: the host's voice, from the first of the two episodes with audio.

    python samples/enrol_host.py

The second episode is left out on purpose: that the host is known in it too is then worth something.
"""

from __future__ import annotations

from pathlib import Path

from understudy.records.voices import KnownVoice, Role, write_register
from understudy.transcribe import audio
from understudy.transcribe.embed import MODEL_ID, Embedder

HERE = Path(__file__).parent
EPISODE = "13-bell-rope-maker"
HOST = "Maren Tolliver"
SHORTEST_SECONDS, LONGEST_SECONDS = 5.0, 15.0
DECIMALS = 5


def turns(rttm: Path, speaker: str) -> list[tuple[float, float]]:
    """Start and end, in seconds, of a speaker's turns in an RTTM file."""
    rows = [line.split() for line in rttm.read_text(encoding="utf-8").splitlines()]
    wanted = [row for row in rows if row[7].replace("_", " ") == speaker]
    return [(float(row[3]), float(row[3]) + float(row[4])) for row in wanted]


def main() -> None:
    """Embed the host's longer turns and write the register."""
    samples = audio.decode(HERE / "show" / f"{EPISODE}.opus").samples
    embedder = Embedder()
    references = []
    for start, end in turns(HERE / "truth" / f"{EPISODE}.rttm", HOST):
        if SHORTEST_SECONDS <= end - start <= LONGEST_SECONDS:
            piece = samples[int(start * audio.SAMPLE_RATE) : int(end * audio.SAMPLE_RATE)]
            row = embedder.embed(piece).tolist()
            references.append(tuple(round(value, DECIMALS) for value in row))
            print(f"{HOST}: {start:.1f}-{end:.1f} s")
    host = KnownVoice(
        name=HOST, role=Role.host, embedding_model=MODEL_ID, references=tuple(references)
    )
    write_register(HERE / "show" / "speakers.json", [host])


if __name__ == "__main__":
    main()
