"""Encoded bytes to a model's input."""
