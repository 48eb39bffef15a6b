"""Rows of exact lengths: chats from the sample show's talk, or ids drawn at random."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from understudy.chat.encoder import Encoder
from understudy.records.rows import Message
from understudy.train.data import Example

SHOW = Path(__file__).parent.parent.parent / "samples" / "show"
SHORTEST, LONGEST = 40, 500
"""Tokens of a short chat."""


def talks() -> list[list[str]]:
    """Every talk of the sample show as turns, what one voice says until another does."""
    found = []
    for path in sorted(SHOW.glob("*.transcript.json")):
        turns: list[tuple[str, str]] = []
        for segment in json.loads(path.read_text(encoding="utf-8"))["segments"]:
            said, speaker = segment["text"].strip(), segment.get("speaker", "")
            if turns and turns[-1][0] == speaker:
                turns[-1] = (speaker, f"{turns[-1][1]} {said}")
            else:
                turns.append((speaker, said))
        found.append([said for _, said in turns])
    return found


def short_chats(encoder: Encoder, count: int, seed: int = 0) -> list[Example]:
    """Chats of 40 to 500 tokens, evenly spread, in a seeded order; users are learned too."""
    draw = random.Random(f"short/{seed}/{count}")  # noqa: S311  # made-up rows
    room = LONGEST - SHORTEST
    lengths = [SHORTEST + int(room * (n + draw.random()) / count) for n in range(count)]
    draw.shuffle(lengths)
    return [_at_most(encoder, length, draw) for length in lengths]


def full_rows(encoder: Encoder, count: int, length: int, seed: int = 0) -> list[Example]:
    """Chats of exactly `length` tokens, the last turn cut off where it stands."""
    draw = random.Random(f"full/{seed}/{count}/{length}")  # noqa: S311
    rows = []
    for _ in range(count):
        messages: list[Message] = []
        while len((row := encoder.row(messages or [_message(0, "")])).ids) < length:
            messages += _stretch(draw, len(messages))
        rows.append(_example(row.ids[:length], row.labels[:length]))
    return rows


def random_rows(vocabulary: int, count: int, length: int, seed: int = 0) -> list[Example]:
    """Ids without sense, every one learned: for weights that have none either."""
    draw = random.Random(f"random/{seed}/{count}/{length}")  # noqa: S311
    drawn = [[draw.randrange(vocabulary) for _ in range(length)] for _ in range(count)]
    return [_example(ids, ids) for ids in drawn]


def write(path: Path, examples: Sequence[Example]) -> None:
    """Keep rows for the processes that train on them."""
    path.write_text(json.dumps([asdict(example) for example in examples]), encoding="utf-8")


def read(path: Path) -> list[Example]:
    """Rows that `write` kept."""
    return [Example(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _stretch(draw: random.Random, start: int) -> list[Message]:
    """A few turns as they follow each other in a talk, user and assistant by turns."""
    talk = draw.choice(talks())
    first = draw.randrange(max(1, len(talk) - 4))
    said = talk[first : first + 4]
    # A stretch of an odd length would let one role speak twice.
    said = said[: len(said) // 2 * 2]
    return [_message(start + number, text) for number, text in enumerate(said)]


def _message(number: int, text: str) -> Message:
    return Message(role=("user", "assistant")[number % 2], content=text)


def _at_most(encoder: Encoder, length: int, draw: random.Random) -> Example:
    """A chat with its end tokens, within a word or so of `length` tokens and never above."""
    messages: list[Message] = []
    while not messages or len(encoder.row(messages).ids) < length:
        messages += _stretch(draw, len(messages))
    while len(messages) > 1 and len(encoder.row(messages[:-1]).ids) > length:
        messages.pop()
    words = messages[-1].content.split()
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        trial = [*messages[:-1], _message(len(messages) - 1, " ".join(words[:middle]))]
        if len(encoder.row(trial).ids) <= length:
            low = middle
        else:
            high = middle - 1
    whole = [*messages[:-1], _message(len(messages) - 1, " ".join(words[:low]))]
    row = encoder.row(whole if low or len(messages) == 1 else messages[:-1])
    return _example(row.ids, row.labels)


def _example(ids: list[int], labels: list[int]) -> Example:
    return Example(ids=ids, labels=labels, item="", speakers=[], voices=[-1] * len(ids))
