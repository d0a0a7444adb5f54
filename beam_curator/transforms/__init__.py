"""Thin PTransforms over plain functions."""

from beam_curator.transforms import coders as coders  # registered before the first transform is made
