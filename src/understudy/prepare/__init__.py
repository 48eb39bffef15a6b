"""Prepare: from transcripts to chat rows that fit the context."""
