"""Faster ways to compute what the model computes anyway."""
