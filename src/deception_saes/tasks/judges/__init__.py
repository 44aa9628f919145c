"""Judges of completions that a program runs: the embedded model, and any chat server."""
