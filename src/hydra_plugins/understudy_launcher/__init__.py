"""Hydra finds the launcher of sweeps here: whatever lies in `hydra_plugins` is a plugin."""
