"""The parts of `benchmarks/train.py`: rows, parties, what is measured, the profile, the growth."""
