"""Generate: let base and checkpoints speak."""
