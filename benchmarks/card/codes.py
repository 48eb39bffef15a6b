"""How the script ends, and how a door does."""

from __future__ import annotations

DONE, FAILED, WRONG, IN_PART, STOPPED = 0, 1, 2, 3, 75
