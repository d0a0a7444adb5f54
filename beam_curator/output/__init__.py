"""Reads and writes what stands in an output directory. No pipelines."""
