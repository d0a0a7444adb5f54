"""Computes score columns from embeddings, pixels, captions or facts."""
