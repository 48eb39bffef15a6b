"""Train: adapters on a frozen base, right and restartable."""
