"""understudy learns to talk like a show: collect, transcribe, prepare, train, generate, compare."""

__version__ = "0.1.0"
