"""A sample at each epoch's end among the events: once, and without a trace in what is learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from understudy.chat.encoder import Encoder
from understudy.records import jsonl
from understudy.records.rows import Message, Meta, Row
from understudy.train import speak

Door = Callable[..., Any]


def samples(run: Path) -> list[dict[str, Any]]:
    events = jsonl.read_whole(run / "events.jsonl")
    return [e["data"] for e in events if "sample" in e.get("data", {})]


def learned(run: Path) -> list[bytes]:
    return [f.read_bytes() for f in (run / "metrics.jsonl", *run.rglob("*.safetensors"))]


def test_one_sample_an_epoch_and_no_trace_of_it(door: Door, arguments: list[str]) -> None:
    arguments = [*arguments, "schedule.epochs=2"]
    done = door("train", *arguments, "eval.speak_tokens=7")
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip())
    spoken = samples(run)
    assert [s["step"] for s in spoken] == [6, 12]
    for sample in spoken:
        assert sample["prompt"].startswith("This is turn 0 by")
        assert sample["reference"].startswith("This is turn 1 by")
        assert isinstance(sample["sample"], str)
        assert isinstance(sample["stopped"], bool)
    messages = [e.get("message", "") for e in jsonl.read_whole(run / "events.jsonl")]
    assert f"epoch 2 says: {spoken[1]['sample']}" in messages
    # Resumed at the end, where everything was said already.
    (run / "manifest.json").unlink()
    again = door("train", *arguments, "eval.speak_tokens=7")
    assert again.returncode == 0, again.stderr
    assert samples(run) == spoken
    with_samples = learned(run)
    silent = door("train", *arguments, "eval.speak_tokens=0", "fresh=true")
    assert Path(silent.stdout.strip()) == run
    assert samples(run) == []
    assert learned(run) == with_samples


def row(*messages: tuple[str, str]) -> Row:
    made = tuple(Message(role=role, content=content) for role, content in messages)
    return Row(messages=made, meta=Meta(corpus="c", item="i"))


def test_the_first_opening_that_leaves_room_is_spoken_to(encoder: Encoder) -> None:
    monologue = row(("assistant", "Good evening."))
    no_answer = row(("user", "Anyone?"))
    long = row(("user", "word " * 60), ("assistant", "Yes."))
    good = row(("system", "A show."), ("user", "How many?"), ("assistant", "Half a million."))
    run: Any = SimpleNamespace(
        encoder=encoder,
        config=SimpleNamespace(model=SimpleNamespace(context=60)),
        data=SimpleNamespace(rows=[monologue, no_answer, long, good]),
    )
    found = speak._first_opening(run)
    assert found is not None
    prompt, ids, answer = found
    assert [message.content for message in prompt] == ["A show.", "How many?"]
    assert answer.content == "Half a million."
    assert ids == encoder.prompt(prompt)
    run.data.rows.pop()
    assert speak._first_opening(run) is None


def test_where_nothing_can_be_said_the_events_tell(encoder: Encoder) -> None:
    told: list[str] = []
    journal = SimpleNamespace(spoken=set(), message=lambda text, **_: told.append(text))
    evaluation = SimpleNamespace(speak_tokens=5)
    run: Any = SimpleNamespace(
        encoder=encoder,
        config=SimpleNamespace(eval=evaluation, model=SimpleNamespace(context=60)),
        data=SimpleNamespace(rows=[]),
        journal=journal,
        processes=SimpleNamespace(first=True),
    )
    speak.speak(run, SimpleNamespace(step=6, epoch=1))  # type: ignore[arg-type]
    assert told == [speak.NOTHING]
