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
        name = self.corpus
        if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
            raise ValueError(
                f"corpus={name!r} is no folder name: use letters, digits, '-', '_' and '.'."
            )
        within("seed", self.seed, 0, 2**32 - 1)

    @property
    def corpus_folder(self) -> Path:
        """`data/<corpus>`: the items of this corpus."""
        return self.paths.data / self.corpus
