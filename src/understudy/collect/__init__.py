"""Collect: from a source to items on disk."""
