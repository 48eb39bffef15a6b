"""The schema: dataclasses that hold types, units, limits and cross-field rules."""

from understudy.config.root import Config

__all__ = ["Config"]
