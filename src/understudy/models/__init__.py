"""Weights: from the hub, a folder or a pinned package, and the adapters on them."""
