"""`samples.jsonl`: what base and checkpoints said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from understudy.records import jsonl


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One continuation of one prompt by one checkpoint with one decoder."""

    task: str
    prompt_id: str
    prompt: list[dict[str, str]]
    """Messages: role and content."""
    reference: str | None
    """What was really said next, where it is known."""
    checkpoint: str
    """`base` for none."""
    decoder: str
    seed: int
    text: str
    finish_reason: str
    """`stop`: the model ended its turn; `length`: it was cut at the limit of new tokens."""
    new_tokens: int
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes a sample the one it is: prompt, checkpoint, decoder, seed."""
        return (self.prompt_id, self.checkpoint, self.decoder, self.seed)


def read(path: Path) -> list[Sample]:
    """The samples in a file, in order; a line torn by a kill is left out."""
    return [Sample(**record) for record in jsonl.read_whole(path)]
