"""Encoded bytes -> upright pixels and facts; nobody else in the package decodes with Pillow."""

from beam_curator.images.facts import Encoded, ImageError, ImageFacts, reason_of
from beam_curator.images.fast_jpeg import jpeg_levels, levels_of
from beam_curator.images.formats import IMAGE_EXTENSIONS
from beam_curator.images.hashing import (
    PictureHashes,
    fine_hash_of_levels,
    hash_of_levels,
    perceptual_hash,
    picture_hashes,
    texture_of_levels,
)
from beam_curator.images.pictures import MAX_IMAGE_PIXELS, decode
from beam_curator.images.preparation import Preparation
from beam_curator.images.preprocessing import Placed, preprocess

__all__ = [
    "IMAGE_EXTENSIONS",
    "MAX_IMAGE_PIXELS",
    "Encoded",
    "ImageError",
    "ImageFacts",
    "PictureHashes",
    "Placed",
    "Preparation",
    "decode",
    "fine_hash_of_levels",
    "hash_of_levels",
    "jpeg_levels",
    "levels_of",
    "perceptual_hash",
    "picture_hashes",
    "preprocess",
    "reason_of",
    "texture_of_levels",
]
