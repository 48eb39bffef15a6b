"""The checks before step 1: they find what would fail later, and leave no trace."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chat_encoders import CASES, encoder_for
from hydra import compose, initialize_config_module

from understudy import artifacts, door
from understudy.artifacts import Identity
from understudy.chat.encoder import IGNORED, Encoder
from understudy.config import Config
from understudy.config.keep import KeepConfig
from understudy.config.memory import MemoryConfig
from understudy.config.optim import OptimConfig
from understudy.console import RunFailedError, UserError
from understudy.records import checkpoints as records
from understudy.records.checkpoints import Progress
from understudy.records.rows import Message
from understudy.train import budget, checkpoint, longest, mask, preflight, rng, room
from understudy.train.data import Example, load
from understudy.train.journal import FULL_VALID_LOSS
from understudy.train.layout import lay_out, tokens
from understudy.train.memory import MemoryPlan
from understudy.train.plan import plan
from understudy.train.training import Training, begin

Ready = Callable[..., Training]
Start = Callable[..., Any]
ALL_AT_ONCE = ["adapter=qlora", "memory=packed", "optim=adamw_8bit", "optim.neftune_alpha=5"]


@pytest.fixture
def configured(arguments: list[str], tmp_path: Path) -> Iterator[Callable[..., Config]]:
    import torch

    door.register_schema()
    deterministic = torch.are_deterministic_algorithms_enabled()

    def make(*overrides: str) -> Config:
        with initialize_config_module("understudy.conf", version_base="1.3"):
            composed = compose("config", overrides=[*arguments, f"root={tmp_path}", *overrides])
        return door.to_config(composed)

    yield make
    torch.use_deterministic_algorithms(mode=deterministic)


@pytest.fixture
def ready(configured: Callable[..., Config], tmp_path: Path) -> Ready:
    """A run at its beginning, on the prepared set and the tiny model."""
    import torch

    from understudy.models import learned
    from understudy.models.base import load_base
    from understudy.models.tokenizer import load_encoder

    def make(*overrides: str) -> Training:
        config = configured(*overrides)
        encoder = load_encoder(config.model)
        (prepared,) = (tmp_path / "runs" / "prepare").glob("show-podcast-*")
        data = load(prepared, encoder, config.model.context)
        supervised = [example.supervised for example in data.train]
        steps = plan(supervised, config.optim, config.schedule.epochs, config.seed)
        torch.manual_seed(config.seed)
        model = learned.attach(load_base(config.model, config.adapter), config.adapter)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        return begin(
            config,
            model,
            identity=Identity(stage="train", format=0, config={}, inputs={}),
            folder=folder,
            encoder=encoder,
            data=data,
            steps=steps,
        )

    return make


# --- no trace ---


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("adapter=unfreeze", "optim.weight_decay=0.1"),
        (*ALL_AT_ONCE, "model.dtype=fp16"),
    ],
    ids=["lora", "unfreeze", "all at once"],
)
def test_nothing_is_left_of_the_checks(
    ready: Ready, overrides: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    run = ready(*overrides)
    with torch.no_grad():
        # What a step of nothing makes +0 of, unless it is taken with care.
        run.trained[-1].view(-1)[0] = -0.0
    weights = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    generators, scale = rng.state(), run.precision.state()
    preflight.check(run)
    for name, parameter in run.model.named_parameters():
        before = weights[name]
        assert parameter.dtype is before.dtype
        assert parameter.detach().numpy().tobytes() == before.numpy().tobytes(), name
        assert parameter.grad is None
    assert not run.optimizer.state
    assert run.precision.state() == scale
    assert torch.equal(rng.state()["cpu"], generators["cpu"])
    assert run.model.training
    assert [path.name for path in run.folder.iterdir()] == ["memory.json"]
    said = capsys.readouterr().err
    assert "longest batch: 1 x " in said
    assert "longest held-out batch: 3 x " in said
    assert "forward and backward" in said
    assert "peak memory" in said
    assert "a checkpoint takes" in said
    assert "train: checks passed in" in said


@pytest.mark.parametrize(
    "overrides",
    [(), (*ALL_AT_ONCE, "model.dtype=bf16", "keep.resume_steps=2")],
    ids=["plain", "all at once"],
)
def test_a_run_with_the_checks_is_bitwise_one_without(
    configured: Callable[..., Config], overrides: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import train

    states = []
    check = preflight.check

    def watched(run: Training) -> Training:
        run = check(run)
        states.append(json.loads((run.folder / "status.json").read_text())["state"])
        return run

    results = []
    for checks in (watched, lambda run: run):
        monkeypatch.setattr(preflight, "check", checks)
        run = train.run(configured("schedule.epochs=1", "fresh=true", *overrides)).path
        names = ["metrics.jsonl", "scores.jsonl"]
        files = [run / name for name in names] + sorted(run.glob("checkpoints/*/*.safetensors"))
        assert len(files) > len(names)
        results.append({file.relative_to(run): file.read_bytes() for file in files})
    assert results[0] == results[1]
    assert states == ["validating_files"]
    assert json.loads((run / "status.json").read_text())["state"] == "succeeded"


# --- the longest batch ---


def rows(seed: int, count: int, longest_row: int = 60) -> list[Example]:
    chance = random.Random(seed)
    found = []
    for number in range(count):
        length = chance.randint(2, longest_row)
        learned = chance.randint(1, length - 1)
        labels = [IGNORED] * (length - learned) + [7] * learned
        row = Example(ids=[7] * length, labels=labels, item=f"e{number}", speakers=[], voices=[])
        found.append(row)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_no_pass_of_the_plan_is_heavier(seed: int) -> None:
    chance = random.Random(seed)
    memory = MemoryPlan(micro_batch=chance.randint(1, 4), packing=chance.random() < 0.5)
    examples = rows(seed, chance.randint(1, 40))
    optim = OptimConfig(rows_per_step=chance.randint(1, 9))
    steps = plan([example.supervised for example in examples], optim, 3, seed)
    passes = [p for s in steps for p in lay_out([examples[r] for r in s.rows], memory, 100)]
    works = [
        (
            len(lines) * max(tokens(line) for line in lines),
            sum(row.supervised for line in lines for row in line),
        )
        for lines in passes
    ]
    found = longest.heaviest(examples, steps, memory, 100)
    assert (found[0].tokens, found[0].labels) == max(works)
    assert found[-1].labels == max(labels for _, labels in works)


@pytest.mark.parametrize("packing", [False, True])
def test_a_long_plan_is_looked_through_quickly(packing: bool) -> None:  # noqa: FBT001
    examples = rows(1, 40_000)
    memory = MemoryPlan(micro_batch=2, packing=packing)
    steps = plan([1] * len(examples), OptimConfig(rows_per_step=4), 10, 1)
    assert len(steps) == 100_000
    began = time.process_time()
    longest.heaviest(examples, steps, memory, 200)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("overrides", "training", "ways"),
    [
        (
            ("memory.micro_batch=2",),
            True,
            ["memory.micro_batch=1 (it is 2", "memory=small_card", "model.context (it is 256"],
        ),
        (("memory=small_card",), True, ["model.context (it is 256"]),
        (("memory=packed",), True, ["memory.checkpointing=true", "packing=false", "model.context"]),
        ((), False, ["eval.micro_batch=1 (it is 4", "model.context (it is 256"]),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_lower(
    ready: Ready,
    overrides: Sequence[str],
    training: bool,  # noqa: FBT001
    ways: list[str],
) -> None:
    """A stand-in for a card that is too small: the model says what torch says there."""
    import torch

    run = ready(*overrides)

    def too_small(model: Any, *_: Any) -> None:
        if model.training is training and torch.is_grad_enabled() is training:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    run.model.get_base_model().model.layers[1].register_forward_pre_hook(too_small)
    with pytest.raises(UserError) as told:
        longest.check(run)
    message = str(told.value)
    assert ("longest batch" in message) is training
    assert ("longest held-out batch" in message) is not training
    assert " of episode-" in message
    places = [message.index(way) for way in ways]
    assert places == sorted(places)
    for other in ("memory.micro_batch", "small_card", "eval.micro_batch"):
        assert (other in message) is any(other in way for way in ways)


def test_other_errors_keep_their_own_words(ready: Ready) -> None:
    run = ready()

    def broken(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    run.model.get_base_model().model.layers[1].register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        longest.check(run)


def test_a_gradient_that_is_not_finite_names_the_rows(ready: Ready) -> None:
    run = ready()
    run.trained[-1].register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(RunFailedError, match=r"norm nan is not finite before step 1, row 11 of ep"):
        longest.check(run)


def test_where_no_weight_has_a_gradient_nothing_would_be_learned(ready: Ready) -> None:
    run = ready()
    for parameter in run.trained:
        parameter.register_hook(lambda gradient: gradient * 0)
    with pytest.raises(RunFailedError, match="nothing would be learned"):
        longest.check(run)


def test_an_overflow_at_the_first_loss_scale_is_no_fault(ready: Ready) -> None:
    run = ready("model.dtype=fp16")
    left = [3]

    def overflow(gradient: Any) -> Any:
        left[0] -= 1
        return gradient * float("inf") if left[0] >= 0 else gradient

    run.trained[-1].register_hook(overflow)
    before = run.precision.scale
    longest.check(run)
    assert left[0] < 0
    assert run.precision.scale == before


# --- the disk ---

KEEPS = {
    "all": KeepConfig(),
    "last 1": KeepConfig(last=1),
    "last 3": KeepConfig(last=3),
    "named": KeepConfig(epochs=[1, 3]),
    "best": KeepConfig(last=1, best=True),
}


@pytest.mark.parametrize("name", KEEPS)
def test_so_many_checkpoints_lie_on_the_disk_at_once(ready: Ready, name: str) -> None:
    """Against the real pruning, with a save after every step and the first epoch the best."""
    run = ready("optim.rows_per_step=3", "schedule.epochs=5")
    run = replace(run, config=replace(run.config, keep=KEEPS[name]))
    most = 0
    for step in run.steps:
        folder = run.folder / "checkpoints" / f"step-{step.number:06d}"
        folder.mkdir(parents=True)
        at = Progress(step=step.number, epoch=step.epoch, ends_epoch=step.ends_epoch, tokens=0)
        artifacts.write_json(folder / records.TRAINER_FILE, {"progress": at})
        artifacts.seal(folder / "manifest.json", run.identity, [folder / records.TRAINER_FILE])
        most = max(most, len(list((run.folder / "checkpoints").iterdir())))
        checkpoint.prune(run)
        if step.ends_epoch:
            run.journal.measure({"step": step.number, FULL_VALID_LOSS: float(step.epoch)})
            checkpoint.prune(run)
    assert most == room.most_kept(run.config, measured=True)
    stay = [checkpoint.progress.epoch for checkpoint in records.whole(run.folder)]
    assert (1 in stay) is (name in ("all", "named", "best"))
    assert (2 in stay) is (name == "all")


def usage(free: int) -> Callable[[Path], SimpleNamespace]:
    return lambda _: SimpleNamespace(free=free, total=10 * free)


def test_a_disk_that_is_too_small_is_told_with_figures(
    ready: Ready, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ready("schedule.epochs=20")
    room.check(run)
    said = capsys.readouterr().err
    assert "the run keeps up to 22: " in said
    one = room._write(run, 22).bytes
    monkeypatch.setattr(room.shutil, "disk_usage", usage(9 * one))
    with pytest.raises(UserError, match=r"up to 22, which needs .*; .* are free") as told:
        room.check(run)
    assert f"keep.last=6 needs {room.size(9 * one)}" in str(told.value)
    monkeypatch.setattr(room.shutil, "disk_usage", usage(one))
    with pytest.raises(UserError, match=f"keep.last=1 needs {room.size(4 * one)}"):
        room.check(run)
    there = run.folder / "checkpoints" / "step-000001"
    there.mkdir(parents=True)
    (there / "adapter_model.safetensors").write_bytes(bytes(9 * one))
    with pytest.raises(UserError, match="goes on from its last checkpoint") as told:
        room.check(run)
    assert "keep.last" not in str(told.value)
    monkeypatch.setattr(room.shutil, "disk_usage", usage(13 * one))
    room.check(run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_at_the_trial_checkpoint(ready: Ready, small_disk: Path) -> None:
    run = replace(ready("adapter.r=64"), folder=small_disk)
    (small_disk / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"does not fit on the disk .* of 128 KiB are free"):
        preflight.check(run)
    assert sorted(p.name for p in small_disk.iterdir()) == ["memory.json", "metrics.jsonl"]
    assert run.optimizer.state == {}


# --- labels ---


@pytest.mark.parametrize(
    ("name", "base"), [case for case in CASES if case[1] not in ("hub", "pieces")]
)
def test_every_dialect_passes_with_every_role_learned(name: str, base: str) -> None:
    encoder = encoder_for(name, base)
    for weights in ((1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0), (0, 1, 1, 0)):
        messages = [
            Message(role=role, content=text, weight=weight)
            for role, text, weight in zip(
                ("user", "assistant") * 2,
                ("How many bees? ", "Half a million.", "", "Ça va [ok] 🐝"),
                weights,
                strict=True,
            )
        ]
        encoded = encoder.row([Message(role="system", content="A show.", weight=0), *messages])
        example = row_of(encoded.ids, encoded.labels)
        assert mask.wrong_label(example) is None
        ends = {encoder.end_ids(role)[-1] for role in encoder.dialect.turns}
        assert set(mask.last_ids(example)) <= ends


def row_of(ids: list[int], labels: list[int]) -> Example:
    return Example(ids=ids, labels=labels, item="talk", speakers=[], voices=[-1] * len(ids))


def test_labels_that_are_not_their_tokens_are_refused(encoder: Encoder) -> None:
    asked = Message(role="user", content="How many?", weight=0)
    encoded = encoder.row([asked, Message(role="assistant", content="Half a million.")])
    ids, labels = encoded.ids, encoded.labels
    mask.check([row_of(ids, labels)], encoder)
    shifted = [*labels[1:], IGNORED]
    with pytest.raises(RunFailedError, match=r"row 1 of talk: token \d+ is \d+ and is learned as"):
        mask.check([row_of(ids, labels), row_of(ids, shifted)], encoder)
    with pytest.raises(RunFailedError, match="first token is learned"):
        mask.check([row_of(ids, [ids[0], *labels[1:]])], encoder)
    with pytest.raises(RunFailedError, match="tokens and"):
        mask.check([row_of(ids, labels[:-1])], encoder)


def test_turns_without_their_end_token_are_counted(
    encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    encoded = encoder.row([Message(role="user", content="So?", weight=0),
                           Message(role="assistant", content="Half a million.")])  # fmt: skip
    end = encoder.end_ids()[-1]
    endless = [IGNORED if label == end else label for label in encoded.labels]
    whole, cut = row_of(encoded.ids, encoded.labels), row_of(encoded.ids, endless)
    mask.check([whole, cut, whole], encoder)
    assert "1 of 3 rows have a learned turn that does not end" in capsys.readouterr().err
    with pytest.raises(RunFailedError, match="never learn to stop"):
        mask.check([cut, cut], encoder)


# --- what is asked for ---


def test_what_needs_held_out_rows_is_refused_without_them(
    ready: Ready, configured: Callable[..., Config]
) -> None:
    data = ready().data
    nothing = replace(data, valid=[], rows=[])
    preflight.agree(configured("keep=best", "eval=early_stop"), data)
    preflight.agree(configured(), nothing)
    with pytest.raises(UserError, match=r"eval.patience=2 judges by held-out loss"):
        preflight.agree(configured("eval=early_stop"), nothing)
    with pytest.raises(UserError, match=r"keep.best=true .* the set holds no row out"):
        preflight.agree(configured("keep=best"), nothing)
    with pytest.raises(UserError, match=r"keep.best=true .* eval.full=false"):
        preflight.agree(configured("keep=best", "eval=none"), data)


def test_a_memory_budget_holds_a_process_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a stand-in for a card of 24 GiB."""
    import torch

    held: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    budget.hold(MemoryConfig(budget_gib=12))
    assert "memory's settings are chosen to stay within it" in capsys.readouterr().err
    everything = MemoryConfig(micro_batch=1, packing=False, checkpointing=False, budget_gib=12)
    budget.hold(everything)
    assert "every setting of memory is given, so it is not used" in capsys.readouterr().err
    card = SimpleNamespace(total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: card)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", held.append)
    budget.hold(MemoryConfig())
    assert held == []
    budget.hold(MemoryConfig(budget_gib=12))
    assert held == [0.5]
    budget.hold(MemoryConfig(budget_gib=32))
    assert held == [0.5]
    assert "more than this GPU has: all of its 24.0 GiB may be taken" in capsys.readouterr().err


def test_a_signal_during_the_checks_stops_soon(
    start: Start, arguments: list[str], tmp_path: Path
) -> None:
    process = start("train", *arguments)
    statuses = tmp_path / "runs" / "train"
    while process.running and not list(statuses.glob("*/plan.jsonl")):
        time.sleep(0.002)
    process.send(signal.SIGTERM)
    ended = process.wait(timeout=30)
    assert ended.returncode == 75, ended.stderr
    (run,) = statuses.iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "queued"
    assert not (run / ".probe").exists()
    shutil.rmtree(run)
