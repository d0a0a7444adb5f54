"""Values that flags and transforms share: they load nothing, so that a command answers at once."""

from __future__ import annotations

from typing import Literal

DEFAULT_MODEL, DEFAULT_PRETRAINED = "ViT-L-14-quickgelu", "openai"
"""The encoder that the published heads were made for: an open_clip model and tag."""

TINY_UNTRAINED = "tiny-untrained"
"""A small seeded encoder for tests, demos and machines without weights. Its scores mean nothing."""

TIMM = "timm:"
"""Prefix of the names of timm's models, such as "timm:vit_base_patch14_dinov2.lvd142m"."""

UNTRAINED = "untrained"
"""Name of a seeded, untrained head, for the same uses as `TINY_UNTRAINED`."""

NO_MODEL = "none"
"""Given in place of a head's name: no such score is computed."""

DEFAULT_MIN_AESTHETIC, DEFAULT_MAX_NSFW = 5.0, 0.5
"""Thresholds of jobs that compute these scores."""

NO_LIMIT = "none"
"""Given in place of a threshold: the score is computed, and no rule uses it."""

AUTO: Literal["auto"] = "auto"
"""Given in place of the number of images in a pass of the encoder: as many as suit the device."""

DEFAULT_RANGE_MB = 64
"""About how much of a shard is one range, in MiB."""

DEFAULT_SAMPLES_PER_SHARD = 1000

MOST_RANGES_PER_FILE = 100_000
"""The most ranges that may share a file of the ledger: such a file has some 10 GB, and one worker writes it."""

TEXT_MEMBERS = ("txt", "caption", "cap", "text")
"""Extensions of members that are a sample's caption, in the order in which they are looked for."""

DUPLICATE_KINDS = ("exact", "perceptual", "semantic")
DEFAULT_DUPLICATE_COSINE = 0.97
DEFAULT_DUPLICATE_BITS = 32

BY_RESOLUTION, BY_AESTHETIC, BY_SIMILARITY, BY_PLACE = KEEP_ORDERS = ("resolution", "aesthetic", "similarity", "first")
"""The orders by which one of several duplicates is kept: the values of `--keep`."""
