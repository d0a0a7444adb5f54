"""Hands a finished output to tools that read no tars: embeddings with their rows, and lists of what is kept."""
