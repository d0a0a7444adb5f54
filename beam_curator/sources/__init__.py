"""Finds, plans and reads the files that samples come from."""
