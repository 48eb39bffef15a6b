"""What is measured: seconds, memory, arithmetic, and how fast the machine multiplies."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.train.data import Example

FORMULA = (
    "(4 x block weights + 6 x LoRA weights) x tokens + 4 x head weights x labels + "
    "6 x layers x width x the sum of squared row lengths"
)
"""Forward 2 and, since the base is frozen, backward 2 operations per weight and token, with 2 more
where a weight has a gradient; causal attention halves its two products and has four more backward.
What is recomputed is not counted: it is no use to anybody."""


@dataclass(slots=True)
class Marks:
    """When each step ended, and the losses."""

    times: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """CPU seconds of the process: what is left to compare where others use the machine too."""
    losses: list[float] = field(default_factory=list)

    def mark(self) -> None:
        """Note the time; called before the first step and after every one."""
        wait()
        self.times.append(time.perf_counter())
        self.cpu.append(time.process_time())


def on_gpu() -> bool:
    """Whether a CUDA device is there."""
    import torch

    return torch.cuda.is_available()


def wait() -> None:
    """Until the device has done what it was given."""
    import torch

    if on_gpu():
        torch.cuda.synchronize()


def hold(budget_gib: float | None) -> None:
    """Keep this process's tensors below `budget_gib` of a GPU's memory."""
    import torch

    if budget_gib is not None and on_gpu():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget_gib * 2**30 / total))


def reset_peak() -> int:
    """Count peaks from here; what is held now, in bytes."""
    import torch

    if on_gpu():
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    # Loading weights has a peak of its own, which is not the training's.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def peak() -> int:
    """Most memory since `reset_peak`: a GPU's for tensors, else the whole process's, in bytes."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if on_gpu() else _status("VmHWM")


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def operations(model: Any, examples: Sequence[Example]) -> float:  # noqa: ANN401  # no types
    """Operations that one pass over the rows, forward and backward, cannot do without: FORMULA."""
    import torch

    blocks = lora = 0
    head = model.get_output_embeddings()
    for name, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear) or layer is head:
            continue
        # In 4 bits the weight's own shape is another one.
        weights = layer.in_features * layer.out_features
        if "lora_" in name:
            lora += weights
        else:
            blocks += weights
    config = model.config
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    lengths = [len(example.ids) for example in examples]
    labels = sum(example.supervised for example in examples)
    squares = sum(length**2 for length in lengths)
    return float(
        (4 * blocks + 6 * lora) * sum(lengths)
        + 4 * head.in_features * head.out_features * labels
        + 6 * config.num_hidden_layers * width * squares
    )
