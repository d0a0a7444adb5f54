"""Tells which samples repeat one another, and which of them stays: mathematics on arrays, without Beam and without
files."""
