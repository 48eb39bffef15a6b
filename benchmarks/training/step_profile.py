"""Where the time of our training step goes: torch's profiler over a few steps, drawn and listed.

An operation counts for the part of the model it runs in; one of the backward pass for the part
whose forward operation it derives. What no operation accounts for is Python, and the profiler.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surroundings import product_rate

from training import meter, ours, rows
from training.party import Party, Setting, warm

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE, PICTURE = DOCS / "training_step.md", DOCS / "training_step.png"
OPEN, CLOSE = "<!-- measured -->", "<!-- end of what is measured -->"
MARK = "part: "
PARTS = {
    "base": "Linear layers of the base",
    "lora": "LoRA, and the base backwards",
    "attention": "Attention",
    "rotary": "Rotary positions",
    "norm": "Norms",
    "mlp": "SwiGLU",
    "block": "Residual sums",
    "head": "Head",
    "loss": "Loss",
    "embedding": "Embedding",
    "optimiser": "Clipping and optimiser",
    "data": "Rows to tensors",
    "other": "Elsewhere",
    "python": "Python between operations",
}
KINDS = ("products", "copies", "rest")
PRODUCTS = re.compile(r"^aten::(mm|addmm|bmm|baddbmm|_scaled_mm|mkldnn_linear)$|matmul_?4bit|gemm")
COPIES = re.compile(r"^aten::(copy_|_to_copy|clone|contiguous|cat|index|index_put_)$|Memcpy")
ATTENTION = re.compile(r"attention|flash", re.IGNORECASE)
BACKWARD = "autograd::engine::evaluate_function"


def measure(
    overrides: Sequence[str], party: Party, *, steps: int = 2, write: bool = True
) -> dict[str, Any]:
    """Profile short chats and full rows; write the page and the picture."""
    from understudy.config.model import ModelConfig
    from understudy.models.tokenizer import load_encoder

    base = next(o for o in overrides if o.startswith("model.base=")).partition("=")[2]
    encoder = load_encoder(ModelConfig(name="smollm2_135m", base=base, dialect="smollm2"))
    count = max(2, steps) + 1
    chosen = {
        "short chats": (rows.short_chats(encoder, 4 * count), 4),
        "rows of 1024 tokens": (rows.full_rows(encoder, count, 1024), 1),
    }
    cases = [
        one_case(name, overrides, party, examples, per_step)
        for name, (examples, per_step) in chosen.items()
    ]
    if write:
        draw(cases, PICTURE)
        put(PAGE, table(cases))
    return {"name": "train profile", "unit": "seconds a step", "cases": cases}


def one_case(
    name: str, overrides: Sequence[str], party: Party, examples: Sequence[Any], per_step: int
) -> dict[str, Any]:
    """Seconds a step by part and kind, with the profiler; and a step's seconds without it."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from understudy.train import step

    setting = Setting(overrides=tuple(overrides), rows="", rows_per_step=per_step)
    config = ours.config_of(setting, party)
    model = ours.model_of(config)
    run = ours.training(config, model, examples)
    warm(model)
    step.take(run, run.steps[0])
    rest = run.steps[1:]
    plain = timed(lambda: [step.take(run, one) for one in rest])
    rate = product_rate()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if meter.on_gpu() else [])]
    with named(model), profile(activities=activities) as found:
        under = timed(lambda: [step.take(run, one) for one in rest])
    seconds = shares(found.events(), under, on_gpu=meter.on_gpu())
    used = [examples[row] for one in rest for row in one.rows]
    return {
        "name": name,
        "unit": "seconds a step",
        "ours": round(plain / len(rest), 4),
        "profiled": round(under / len(rest), 4),
        "conditions": f"{len(rest)} steps of {per_step} rows, "
        f"{sum(len(e.ids) for e in used) / len(rest):,.0f} tokens a step, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before and meanwhile",
        "product_use": round(meter.operations(model, used) / plain / rate, 3),
        "parts": {
            part: {kind: round(value / len(rest), 5) for kind, value in kinds.items()}
            for part, kinds in seconds.items()
        },
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    meter.wait()
    began = time.perf_counter()
    work()
    meter.wait()
    return time.perf_counter() - began


# --- names for what runs ---


@contextmanager
def named(model: Any) -> Iterator[None]:  # noqa: ANN401  # transformers has no types
    """While open, what runs in a part of the model runs under its name in the profile."""
    import sys

    from understudy.train import step

    modules = sys.modules[type(model.get_base_model()).__module__]
    handles = [handle for layer, part in _layers(model) for handle in _hooks(layer, part)]
    patched = [
        (modules, "apply_rotary_pos_emb", "rotary"),
        (step, "token_losses", "loss"),
        (step, "collate", "data"),
        (step, "lay_out", "data"),
        (step, "clip", "optimiser"),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in patched]
    for place, name, part in patched:
        setattr(place, name, _under(getattr(place, name), part))
    try:
        yield
    finally:
        for place, name, function in before:
            setattr(place, name, function)
        for handle in handles:
            handle.remove()


def _layers(model: Any) -> Iterator[tuple[Any, str]]:  # noqa: ANN401
    from peft.tuners.lora import LoraLayer

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    for name, layer in model.named_modules():
        kind = type(layer).__name__
        if layer is head:
            yield layer, "head"
        elif layer is embedding:
            yield layer, "embedding"
        elif isinstance(layer, LoraLayer):
            yield layer, "lora"
        elif name.endswith(".base_layer"):
            yield layer, "base"
        else:
            for ending, part in (
                ("RMSNorm", "norm"),
                ("RotaryEmbedding", "rotary"),
                ("Attention", "attention"),
                ("MLP", "mlp"),
                ("DecoderLayer", "block"),
            ):
                if kind.endswith(ending):
                    yield layer, part


def _hooks(layer: Any, part: str) -> list[Any]:  # noqa: ANN401
    import torch

    open_ones: list[Any] = []

    def enter(*_: Any) -> None:  # noqa: ANN401
        open_ones.append(torch.profiler.record_function(MARK + part))
        open_ones[-1].__enter__()

    def leave(*_: Any) -> None:  # noqa: ANN401
        open_ones.pop().__exit__(None, None, None)

    return [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]


def _under(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    import torch

    @functools.wraps(function)
    def wrapped(*given: Any, **named: Any) -> Any:  # noqa: ANN401
        with torch.profiler.record_function(MARK + part):
            return function(*given, **named)

    return wrapped


# --- whose time it is ---


def shares(events: Sequence[Any], seconds: float, *, on_gpu: bool) -> dict[str, dict[str, float]]:
    """Seconds by part and kind; they add up to `seconds`."""
    forward = _forward_parts(events)
    found: dict[str, dict[str, float]] = {part: dict.fromkeys(KINDS, 0.0) for part in PARTS}
    for event in events:
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if not own or event.name.startswith("ProfilerStep"):
            continue
        if event.name.startswith(MARK):
            continue
        part = _part(event, forward)
        found[part][_kind(event.name, part)] += own / 1e6
    counted = sum(sum(kinds.values()) for kinds in found.values())
    found["python"]["rest"] += max(0.0, seconds - counted)
    return found


def _forward_parts(events: Sequence[Any]) -> dict[int, str]:
    """The part in which each sequence number was given out; the last to bear one made its node."""
    found: dict[int, str] = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.sequence_nr >= 0 and not event.name.startswith((MARK, BACKWARD)):
            part, number = _enclosing(event)
            if number is None:
                found[event.sequence_nr] = part
    return found


def _enclosing(event: Any) -> tuple[str, int | None]:  # noqa: ANN401
    """The innermost part around an operation, and the number of the node it derives, if any."""
    place = event
    while place is not None:
        if place.name.startswith(MARK):
            return place.name.removeprefix(MARK), None
        if place.name.startswith(BACKWARD):
            return "other", place.sequence_nr
        if place.name.startswith("Optimizer."):
            return "optimiser", None
        place = place.cpu_parent
    return "other", None


def _part(event: Any, forward: dict[int, str]) -> str:  # noqa: ANN401
    part, number = _enclosing(event)
    return part if number is None else forward.get(number, "other")


def _kind(name: str, part: str) -> str:
    if PRODUCTS.search(name) or (part == "attention" and ATTENTION.search(name)):
        return "products"
    return "copies" if COPIES.search(name) else "rest"


# --- for people ---


def table(cases: Sequence[dict[str, Any]]) -> str:
    """The cases as Markdown tables."""
    blocks = []
    for case in cases:
        whole = case["profiled"]
        said = (
            f"{case['conditions']}. {case['ours']:.2f} s a step, {whole:.2f} s under the profiler; "
            f"{case['product_use']:.0%} of the machine's rate of matrix products."
        )
        lines = [
            f"### {case['name'].capitalize()}",
            "",
            said,
            "",
            "| Part | Share | Products | Copies and casts | Other operations |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        ranked = sorted(case["parts"].items(), key=lambda item: -sum(item[1].values()))
        for part, kinds in ranked:
            cells = [f"{kinds[kind] / whole:.1%}" for kind in KINDS]
            lines.append(
                f"| {PARTS[part]} | {sum(kinds.values()) / whole:.1%} | {' | '.join(cells)} |"
            )
        total = {kind: sum(kinds[kind] for kinds in case["parts"].values()) for kind in KINDS}
        cells = [f"{total[kind] / whole:.1%}" for kind in KINDS]
        lines.append(f"| **All** | {sum(total.values()) / whole:.1%} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def put(page: Path, text: str) -> None:
    """Put what was measured between the page's two marks."""
    old = page.read_text(encoding="utf-8")
    before, _, rest = old.partition(OPEN)
    _, _, after = rest.partition(CLOSE)
    page.write_text(f"{before}{OPEN}\n\n{text}\n\n{CLOSE}{after}", encoding="utf-8")


def draw(cases: Sequence[dict[str, Any]], path: Path) -> None:
    """One bar a case, its parts from the largest to the smallest."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sums: dict[str, float] = defaultdict(float)
    for case in cases:
        for part, kinds in case["parts"].items():
            sums[part] += sum(kinds.values()) / case["profiled"]
    order = sorted((part for part in sums if sums[part] >= 0.005), key=lambda part: -sums[part])  # noqa: PLR2004
    colours = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    figure, axes = plt.subplots(figsize=(10, 1.2 + 1.1 * len(cases)), layout="constrained")
    for number, case in enumerate(cases):
        left = 0.0
        for place, part in enumerate(order):
            share = sum(case["parts"][part].values()) / case["profiled"]
            label = PARTS[part] if number == 0 else None
            colour = colours[place % len(colours)]
            axes.barh(number, share, left=left, color=colour, label=label, height=0.6)
            if share >= 0.03:  # noqa: PLR2004  # below that the number has no room
                axes.text(left + share / 2, number, f"{share:.0%}", ha="center", va="center")
            left += share
    axes.set_yticks(range(len(cases)), [f"{c['name']}\n{c['ours']:.2f} s a step" for c in cases])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of a training step")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
