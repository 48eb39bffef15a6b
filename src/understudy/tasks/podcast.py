"""Podcast: a host and a guest talk. The host is the user, the guest the assistant."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.config.task import TaskConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class PodcastConfig(TaskConfig):
    """Who speaks for whom, and who is learned."""

    train_host: bool = True
    """Train the host's turns, end tokens included."""
    train_guest: bool = True
    """Train the guest's turns, end tokens included."""

    def __post_init__(self) -> None:
        if not (self.train_host or self.train_guest):
            raise ValueError(
                "task.train_host=false and task.train_guest=false leave nothing to learn: "
                "set one of them to true."
            )


CONFIG = PodcastConfig
