"""The whole config: one schema that every stage composes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from understudy.config.adapter import AdapterConfig
from understudy.config.asr import AsrConfig
from understudy.config.decoding import DecodingConfig
from understudy.config.diarizer import DiarizerConfig
from understudy.config.evaluation import EvalConfig
from understudy.config.keep import KeepConfig
from understudy.config.limits import within
from understudy.config.memory import MemoryConfig
from understudy.config.model import ModelConfig
from understudy.config.optim import OptimConfig
from understudy.config.paths import PathsConfig
from understudy.config.report import ReportConfig
from understudy.config.schedule import ScheduleConfig
from understudy.config.source import SourceConfig
from understudy.config.split import SplitConfig
from understudy.config.task import TaskConfig
from understudy.config.voices import VoicesConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One experiment: the same file serves all six stages, each reads its part."""

    corpus: str
    """Name of the corpus: the folder under `data/`."""
    corpora: dict[str, float] | None = None
    """Several corpora in one set: the share of the training rows each gives, as weights by name;
    `corpus` is then the set's name, and that of rows from `task.rows`. Null for one corpus."""
    max_dropped_share: float = 0.05
    """prepare: largest share of the words that may be dropped though nothing asks for it."""
    root: Path
    """Where `data/` and `runs/` are (`root=`, else UNDERSTUDY_ROOT, else the current folder)."""
    seed: int = 42
    """Seed of the adapter's initial weights, dropout and the order of rows."""
    fresh: bool = False
    """Start over, even where the same thing was already made."""
    checkpoints: list[str] = field(default_factory=lambda: ["base", "last"])
    """Which checkpoints `generate` lets speak: `base`, `last`, `epoch<N>`."""
    run: Path | None = None
    """generate: the training run; null: the one this config would make."""
    samples: Path | None = None
    """compare: the folder that `generate` made; null: the one this config would make."""

    task: TaskConfig
    model: ModelConfig
    source: SourceConfig
    asr: AsrConfig
    diarizer: DiarizerConfig
    voices: VoicesConfig
    split: SplitConfig
    adapter: AdapterConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    memory: MemoryConfig
    eval: EvalConfig
    decoding: DecodingConfig
    report: ReportConfig
    keep: KeepConfig
    paths: PathsConfig

    def __post_init__(self) -> None:
        for name in (self.corpus, *self.weights):
            _check_name(name)
        for name, weight in self.weights.items():
            if not isinstance(weight, int | float):
                raise ValueError(f"corpora.{name}={weight} is no weight: give a number.")  # noqa: TRY004
            within(f"corpora.{name}", weight, 1e-6, 1e6)
        within("max_dropped_share", self.max_dropped_share, 0, 1)
        within("task.carry_turns", self.task.carry_turns, 0, 1000, unit="messages")
        within("task.carry_tokens", self.task.carry_tokens, 0, 1_000_000, unit="tokens")
        within("seed", self.seed, 0, 2**32 - 1)

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the corpora, by name; empty for one corpus alone."""
        if self.corpora is not None and not isinstance(self.corpora, dict):
            example = "corpora={show: 2, other: 1}"
            raise ValueError(f"corpora={self.corpora}: give weights by name, as in {example}.")
        return self.corpora or {}

    @property
    def corpus_folder(self) -> Path:
        """`data/<corpus>`: the items of this corpus."""
        return self.paths.data / self.corpus


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise ValueError(
            f"corpus={name!r} is no folder name: use letters, digits, '-', '_' and '.'."
        )
