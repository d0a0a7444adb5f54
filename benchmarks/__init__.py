"""Measurements, each a script that prints a table: `python -m benchmarks.encoder`, ...; see docs/performance.md."""
