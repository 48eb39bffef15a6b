"""The two shipped experiments, end to end and as they ship, on tiny stand-ins of their models.

What is overridden: the model's folder, lengths, and the number of prompts. What is not: NF4, the
optimiser, the number format with its loss scaling, the trial of memory's settings, schedule, what
is kept.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from doors import DoorProcess, Ended
from shows import make_corpus

from understudy.config import stored
from understudy.records import samples

STAGES = ("prepare", "train", "generate", "compare")
SHORT = ["corpus=show", "decoding.prompts=2", "decoding.batch=2", "eval.speak_tokens=8"]
BEES = ("roof", "honey", "winter", "hive", "keeper", "queen", "spring", "smoke", "wax")


@dataclass(frozen=True, slots=True)
class Experiment:
    """What the doors made of an experiment."""

    root: Path
    arguments: list[str]
    ended: dict[str, Ended]

    def folder(self, stage: str) -> Path:
        path = Path(self.ended[stage].stdout.strip())
        return path if path.is_dir() else path.parent

    def metrics(self, key: str) -> list[Any]:
        lines = (self.folder("train") / "metrics.jsonl").read_text().splitlines()
        return [line[key] for line in map(json.loads, lines) if key in line]


def walk(root: Path, arguments: list[str]) -> Experiment:
    ended = {}
    for stage in STAGES:
        ended[stage] = DoorProcess(stage, arguments, root).wait()
        assert ended[stage].returncode == 0, ended[stage].stderr
    return Experiment(root, arguments, ended)


@pytest.fixture(scope="module")
def mistral(mistral_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    root = tmp_path_factory.mktemp("qlora_mistral")
    make_corpus(root, "show", items=10, turns=8)
    sizes = [f"model.base={mistral_model}", "model.context=256", "decoding.max_new_tokens=16"]
    return walk(root, ["+experiment=qlora_mistral", *SHORT, *sizes])


@pytest.fixture(scope="module")
def llama2(llama2_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    root = tmp_path_factory.mktemp("qlora_llama2_comments")
    videos(root / "data" / "show", count=8)
    sizes = [f"model.base={llama2_model}", "model.context=256", "decoding.max_new_tokens=16"]
    return walk(root, ["+experiment=qlora_llama2_comments", *SHORT, *sizes])


def videos(corpus: Path, count: int) -> None:
    """Videos with subtitles, and two comments each of which one is liked better."""
    for number in range(count):
        item = corpus / f"video-{number}"
        item.mkdir(parents=True)
        (item / "source.json").write_text(json.dumps({"title": item.name}))
        (item / "manifest.collect.json").write_text("{}")
        said = " ".join(f"Now number {n} of the {BEES[(number + n) % 9]}." for n in range(12))
        cue = f"WEBVTT\n\n00:00.000 --> 01:00.000\n{said}\n"
        (item / "subtitles.en.vtt").write_text(cue)
        liked = {"text": f"I never knew the {BEES[number]} could do that", "like_count": 9}
        other = {"text": f"More about the {BEES[-number - 1]}, please", "like_count": 2}
        lines = [json.dumps(liked), json.dumps(other)]
        (item / "comments.jsonl").write_text("\n".join(lines))


@pytest.fixture(params=["mistral", "llama2"])
def experiment(request: pytest.FixtureRequest) -> Experiment:
    made: Experiment = request.getfixturevalue(request.param)
    return made


def test_all_four_stages_end_well_and_something_is_learned(experiment: Experiment) -> None:
    train = experiment.ended["train"].stderr
    assert not re.search("Traceback|UserWarning|FutureWarning|autograd kernel", train), train
    assert re.search(r"train: [\d.]+ s, peak memory [\d.]+ GiB", train)
    losses = experiment.metrics("full_valid_loss")
    assert losses[-1] < losses[0] - 0.01
    said = samples.read(experiment.folder("generate") / "samples.jsonl")
    assert said
    assert {len(one.text) > 0 for one in said} == {True}
    assert (experiment.folder("compare") / "report.html").stat().st_size > 10_000


def test_the_base_is_held_in_four_bits_and_the_adapter_in_fp32(experiment: Experiment) -> None:
    import torch
    from bitsandbytes.nn import Linear4bit
    from safetensors.torch import load_file

    from understudy.models.base import load_base

    config = stored.read(experiment.folder("train") / "config.yaml")
    base = load_base(config.model, config.adapter)
    linear = [m for name, m in base.named_modules() if name.endswith("_proj")]
    assert len(linear) == 7 * 2
    for layer in linear:
        assert isinstance(layer, Linear4bit)
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested == config.adapter.double_quantisation
    newest = max((experiment.folder("train") / "checkpoints").iterdir())
    saved = load_file(newest / "adapter_model.safetensors")
    assert len(saved) == 2 * len(linear)
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert all(bool(t.any()) for name, t in saved.items() if "lora_B" in name)


def test_how_rows_are_laid_into_memory_is_chosen_by_a_trial(experiment: Experiment) -> None:
    written = json.loads((experiment.folder("train") / "memory.json").read_text())
    assert written["plan"] in [tried["plan"] for tried in written["tried"]]
    said = experiment.ended["train"].stderr
    assert "train: trial: 1 line, nothing recomputed: " in said
    assert written["seconds"] < 30, said


def test_mistrals_figures_are_the_shipped_ones(mistral: Experiment) -> None:
    from safetensors.torch import load_file

    config = stored.read(mistral.folder("train") / "config.yaml")
    assert (config.adapter.r, config.adapter.alpha, config.optim.rows_per_step) == (8, 32, 4)
    assert (config.memory.fixed, config.memory.budget_gib) == (False, 24)
    kept = sorted((mistral.folder("train") / "checkpoints").iterdir())
    epochs = [json.loads((c / "trainer.json").read_text())["progress"]["epoch"] for c in kept]
    assert epochs == [3, 4, 5]
    rates = mistral.metrics("learning_rate")
    assert rates[:10] == pytest.approx([3e-4 * n / 10 for n in range(1, 11)])
    past = len(rates) - 10
    cosine = [1.5e-4 * (1 + math.cos(math.pi * n / past)) for n in range(past)]
    assert rates[10:] == pytest.approx(cosine)
    assert mistral.metrics("loss_scale") == []
    state = load_file(kept[-1] / "optimizer.safetensors")
    moments = {name: t for name, t in state.items() if name.endswith("state1")}
    assert {str(t.dtype) for t in moments.values()} == {"torch.uint8", "torch.float32"}
    # Small tensors are kept in 32 bits by bitsandbytes itself.
    assert all(t.numel() < 4096 for t in moments.values() if str(t.dtype) == "torch.float32")
    said = samples.read(mistral.folder("generate") / "samples.jsonl")
    assert {(one.checkpoint, one.decoder) for one in said} == {
        ("base", "nucleus"), ("epoch5", "nucleus")
    }  # fmt: skip


def test_the_comments_figures_are_the_shipped_ones(llama2: Experiment) -> None:
    config = stored.read(llama2.folder("train") / "config.yaml")
    assert (config.adapter.r, config.adapter.alpha, config.adapter.dropout) == (64, 16, 0.1)
    assert (config.optim.clip, config.optim.weight_decay) == (0.3, 0.001)
    assert (config.memory.fixed, config.memory.budget_gib) == (False, 24)
    kept = sorted((llama2.folder("train") / "checkpoints").iterdir())
    epochs = [json.loads((c / "trainer.json").read_text())["progress"]["epoch"] for c in kept]
    assert epochs == [1, 2, 3]
    rates = llama2.metrics("learning_rate")
    assert set(rates) == {2e-4}, "three percent of so few steps are no warm-up"
    scales = llama2.metrics("loss_scale")
    assert len(scales) == len(rates)
    assert min(scales) >= 1
    assert "pages its state" in llama2.ended["train"].stderr
    said = samples.read(llama2.folder("generate") / "samples.jsonl")
    checkpoints = {"base", "epoch1", "epoch2", "epoch3"}
    decoders = {"greedy", "beam", "beam_sample"}
    assert {(one.checkpoint, one.decoder) for one in said} == set(product(checkpoints, decoders))
    rows = (llama2.folder("prepare") / "train.jsonl").read_text()
    assert "I never knew" in rows
    assert "More about" not in rows, "one comment a video, the best liked one"


@pytest.mark.slow
def test_killed_and_resumed_an_experiment_is_bitwise_the_same(
    experiment: Experiment, tmp_path: Path
) -> None:
    """The state of 8-bit and paged optimisers comes back too.

    The plan of memory is that of the calm run: another one would make sums in another order.
    """
    shutil.copytree(experiment.root, tmp_path / "again", ignore=shutil.ignore_patterns(".door-*"))
    root = tmp_path / "again"
    run = root / experiment.folder("train").relative_to(experiment.root)
    plan = (run / "memory.json").read_bytes()
    shutil.rmtree(run)
    run.mkdir()
    (run / "memory.json").write_bytes(plan)
    arguments = [*experiment.arguments, "keep.resume_steps=1"]
    process = DoorProcess("train", arguments, root)
    while process.running and not (run / "checkpoints" / "step-000005" / "manifest.json").exists():
        time.sleep(0.002)
    process.send(signal.SIGKILL)
    process.wait()
    assert not (run / "manifest.json").exists()
    ended = DoorProcess("train", arguments, root).wait()
    assert ended.returncode == 0, ended.stderr
    assert "going on after step" in ended.stderr
    assert made(run) == made(experiment.folder("train"))


def made(run: Path) -> dict[str, bytes]:
    files = [run / "metrics.jsonl", run / "scores.jsonl", *run.glob("checkpoints/*/*.safetensors")]
    return {file.relative_to(run).as_posix(): file.read_bytes() for file in files}


def test_evaluating_a_four_bit_base_leaves_its_gradients_as_they_were(mistral: Experiment) -> None:
    """bitsandbytes packs 4-bit layers for inference on some CPUs, and packed ones have none."""
    import torch

    from understudy.models import learned
    from understudy.models.base import load_base

    config = stored.read(mistral.folder("train") / "config.yaml")
    model = learned.attach(load_base(config.model, config.adapter), config.adapter)
    newest = max((mistral.folder("train") / "checkpoints").iterdir())
    learned.restore(model, newest)
    ids = torch.arange(100, 140)[None]

    def gradients() -> list[Any]:
        model.train()
        torch.manual_seed(0)
        model(input_ids=ids, labels=ids).loss.backward()
        found = [p.grad.clone() for p in model.parameters() if p.requires_grad]
        model.zero_grad()
        return found

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    for one, other in zip(before, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
