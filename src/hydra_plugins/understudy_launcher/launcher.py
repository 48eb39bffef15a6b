"""The launcher of sweeps. Hydra imports it at every start: nothing heavy may be imported here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from understudy.sweep.job import Job


class Door(Protocol):
    """What a door gives Hydra to call."""

    stage: str

    def sweep(self, jobs: Sequence[Job]) -> None:
        """Run all jobs and keep how it ended."""


class ProcessLauncher(Launcher):
    """Composes every job, then runs each in a process of its own."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:  # noqa: ANN401
        """Keep what Hydra hands over. `task_function` is the door."""
        self.loader = hydra_context.config_loader
        self.door: Door = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs of a whole sweep.

        Raises:
            UserError: a job's config does not hold; no job was started.
        """
        from understudy.console import UserError
        from understudy.sweep import composed

        if initial_job_idx:
            raise UserError("a sweep has one table: leave hydra.sweeper.max_batch_size alone.")
        setup_globals()
        # Hydra's own copy of the config: what a run was made with stands in the run's folder.
        (Path(self.config.hydra.sweep.dir) / "multirun.yaml").unlink(missing_ok=True)
        given = list(self.config.hydra.overrides.hydra)
        self.door.sweep(composed.jobs(job_overrides, given, self._compose))
        done = JobStatus.COMPLETED
        return [JobReturn(overrides=list(job), status=done) for job in job_overrides]

    def _compose(self, overrides: Sequence[str]) -> Any:  # noqa: ANN401  # a DictConfig
        from omegaconf import open_dict, read_write

        config = self.loader.load_sweep_config(self.config, list(overrides))
        with read_write(config), open_dict(config):
            del config["hydra"]
        return config
