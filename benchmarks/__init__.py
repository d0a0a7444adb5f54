"""Measurements, each a script that prints a table: `python -m benchmarks.encoder --help` and so on; see docs/performance.md."""
