"""Reads tars and writes them: no other room knows the format."""
