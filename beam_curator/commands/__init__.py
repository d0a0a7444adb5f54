"""Talks to a terminal: commands, flags, progress, errors."""
