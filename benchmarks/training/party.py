"""Who takes part, what is the same for all of them, and one of them training in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from surroundings import product_rate

from training import meter, rows
from understudy.train.data import Example

BENCHMARK = Path(__file__).parent.parent / "train.py"
WARM_TOKENS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is the same for everybody."""

    overrides: tuple[str, ...]
    """Model, adapter and optimiser, as overrides of our config."""
    rows: str
    """File of the training rows."""
    rows_per_step: int
    epochs: int = 1
    warm_epochs: int = 0
    """How many of the epochs come before the clock starts."""
    judged: int = 4
    """Rows on which the trained model is judged at the end."""
    budget_gib: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Party:
    """One way of training."""

    name: str
    kind: str
    """`ours`, `trl`, `trainer` or `unsloth`."""
    batch: int = 1
    """Peers: rows of one pass; the step's other rows are accumulated."""
    checkpointing: bool = False
    grouped: bool = False
    """Peers: rows of like length share a batch, so each step sees other rows than elsewhere."""
    options: tuple[str, ...] = ()
    """Overrides of our config, by which peers load their model too; and for peers `liger`."""


def alone(setting: Setting, party: Party, limit: float | None = None) -> dict[str, Any]:
    """Train in a fresh process; its figures, or `failed` and why."""
    return elsewhere({"setting": asdict(setting), "party": asdict(party)}, limit)


def elsewhere(work: dict[str, Any], limit: float | None = None) -> dict[str, Any]:
    """Do a piece of work in a fresh process; its figures, or `failed` and why."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        given = json.dumps({**work, "out": str(out)})
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        try:
            done = subprocess.run(
                [sys.executable, str(BENCHMARK), "--child", given],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
                text=True,
                check=False,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"not done after {limit:.0f} s"}
        if out.exists():
            return dict(json.loads(out.read_text(encoding="utf-8")))
        last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
        return {"failed": f"ended with {done.returncode}: {' / '.join(last)}"}


def in_child(given: str) -> None:
    """What the fresh process does."""
    work = json.loads(given)
    out = Path(work.pop("out"))
    out.write_text(json.dumps(_done(work)), encoding="utf-8")


def _done(work: dict[str, Any]) -> dict[str, Any]:
    if "growth" in work:
        from training import growth

        return growth.data_path(Path(work["growth"]))
    if "quantise" in work:
        from training import gpu

        return gpu.quantise(*map(Path, work["quantise"]))
    if "longest" in work:
        from training import gpu

        name, base, options, seconds = work["longest"]
        shape = next(shape for shape in (gpu.MISTRAL, gpu.LLAMA) if shape.name == name)
        most = shape.sizes["max_position_embeddings"]
        return gpu.try_lengths(shape, Path(base), tuple(options), most, seconds)
    party, setting = work["party"], work["setting"]
    party["options"], setting["overrides"] = tuple(party["options"]), tuple(setting["overrides"])
    return run(Setting(**setting), Party(**party))


def run(setting: Setting, party: Party) -> dict[str, Any]:
    """Train once and measure it; the model is loaded, and every library called once, before.

    Raises:
        torch.OutOfMemoryError: it does not fit.
    """
    import torch

    from training import ours, peers

    meter.hold(setting.budget_gib)
    examples = rows.read(Path(setting.rows))
    rate = product_rate()
    config = ours.config_of(setting, party)
    # Unsloth changes the other libraries while it is imported, so its model comes from itself.
    model = peers.unsloth_model(config) if party.kind == "unsloth" else ours.model_of(config)
    operations = meter.operations(model, examples)
    begin = ours.begin if party.kind == "ours" else peers.begin
    train = begin(config, model, examples, setting, party)
    warm(model)
    held = meter.reset_peak()
    marks = meter.Marks()
    train(marks)
    peak = meter.peak()
    steps = len(examples) // setting.rows_per_step
    first = steps * setting.warm_epochs
    seconds = marks.times[-1] - marks.times[first]
    timed = setting.epochs - setting.warm_epochs
    tokens = timed * sum(len(example.ids) for example in examples)
    rate = (rate + product_rate()) / 2
    return {
        "tokens_per_second": tokens / seconds,
        "tokens": tokens,
        "seconds": seconds,
        "cpu_seconds": marks.cpu[-1] - marks.cpu[first],
        "first_step_seconds": marks.times[1] - marks.times[0],
        "peak_bytes": peak,
        "held_bytes": held,
        "losses": marks.losses,
        "loss_after": None if party.kind == "unsloth" else judge(model, examples[: setting.judged]),
        "threads": torch.get_num_threads(),
        "product_rate": rate,
        "product_use": timed * operations / seconds / rate,
    }


def warm(model: Any) -> None:  # noqa: ANN401  # transformers has no types
    """One small pass forward and backward, which leaves nothing behind."""
    import torch

    ids = torch.arange(WARM_TOKENS, device=model.device)[None]
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    model.zero_grad(set_to_none=True)


def judge(model: Any, examples: Sequence[Example]) -> float:  # noqa: ANN401
    """Loss of a trained model on rows, by one and the same function for every party, nats."""
    import torch

    from understudy.train.batch import collate
    from understudy.train.loss import token_losses

    model.eval()
    total = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad(), torch.autocast(model.device.type, dtype=torch.bfloat16):
        for example in examples:
            losses = token_losses(model, collate([[example]], 0, model.device)).losses_n
            total += torch.tensor([float(losses.double().sum()), len(losses)])
    return float(total[0] / total[1])
