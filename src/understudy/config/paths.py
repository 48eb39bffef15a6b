"""Where things lie: everything is found from one root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class PathsConfig:
    """Folders for what is collected and for what is made."""

    data: Path
    """Corpora: `<data>/<corpus>/<item>/`."""
    runs: Path
    """What stages make: `<runs>/<stage>/<name>-<hash8>/`."""
