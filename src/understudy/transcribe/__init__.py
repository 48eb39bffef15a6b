"""Transcribe: who said what, and whose voice it was."""
