"""Sweeps: the same stage over many configs, each job a process of its own, and one table."""
