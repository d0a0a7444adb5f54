"""Thin PTransforms over plain functions."""
