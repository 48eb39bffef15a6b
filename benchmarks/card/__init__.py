"""The parts of `benchmarks/gpu.py`: the machine, the tests, a large model through the door."""
