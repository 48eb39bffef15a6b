"""Generate over a run that trained weights of the base itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.records import samples as records

Door = Callable[..., Any]
GREEDY = ["decoding=[greedy]", "decoding.max_new_tokens=12", "decoding.batch=2"]


def said(door: Door, *arguments: str) -> dict[tuple[str, str], str]:
    done = door("generate", *arguments, *GREEDY)
    assert done.returncode == 0, done.stderr
    samples = records.read(Path(done.stdout.strip()) / "samples.jsonl")
    return {(sample.checkpoint, sample.prompt_id): sample.text for sample in samples}


def test_a_delta_speaks_and_the_base_beside_it_is_the_base(door: Door, trained: list[str]) -> None:
    alone = said(door, *trained, "checkpoints=[base]")
    arguments = [*trained, "adapter=unfreeze", "schedule.epochs=2", "keep=all"]
    done = door("train", *arguments)
    assert done.returncode == 0, done.stderr
    among = said(door, *arguments, "checkpoints=[epoch1,base,last]")
    assert {name for name, _ in among} == {"base", "epoch1", "epoch2"}
    assert {key: text for key, text in among.items() if key[0] == "base"} == alone
    prompts = {prompt for _, prompt in alone}
    assert any(among["epoch2", prompt] != alone["base", prompt] for prompt in prompts)
    only = said(door, *arguments, "checkpoints=[last]")
    assert only == {key: text for key, text in among.items() if key[0] == "epoch2"}
