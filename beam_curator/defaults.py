"""Values that flags and transforms share: they load nothing, so that a command answers at once."""

from __future__ import annotations

from typing import Literal

DEFAULT_MODEL, DEFAULT_PRETRAINED = "ViT-L-14-quickgelu", "openai"
"""The encoder that the published heads were made for: an open_clip model and tag."""

TINY_UNTRAINED = "tiny-untrained"
"""A small seeded encoder for tests, demos and machines without weights. Its scores mean nothing."""

TIMM = "timm:"
"""What the names of timm's models begin with here."""

UNTRAINED = "untrained"
"""A head for the same."""

NO_MODEL = "none"
"""What leaves a head out."""

DEFAULT_MIN_AESTHETIC, DEFAULT_MAX_NSFW = 5.0, 0.5
"""The thresholds, where there are such scores."""

NO_LIMIT = "none"
"""What turns a threshold off: its score is computed all the same, and no rule looks at it."""

AUTO: Literal["auto"] = "auto"
"""Images in a pass of the encoder."""

DEFAULT_RANGE_MB = 64
"""About how much of a shard is one range, in MiB."""

DEFAULT_SAMPLES_PER_SHARD = 1000

MOST_RANGES_PER_FILE = 100_000
"""So many ranges a file of the ledger has at most: it is some 10 GB then, and one worker writes it."""

TEXT_MEMBERS = ("txt", "caption", "cap", "text")
"""Extensions of members that are a sample's caption, in the order in which they are looked for."""

DUPLICATE_KINDS = ("exact", "perceptual", "semantic")
DEFAULT_DUPLICATE_COSINE = 0.97
DEFAULT_DUPLICATE_BITS = 32

BY_RESOLUTION, BY_AESTHETIC, BY_SIMILARITY, BY_PLACE = KEEP_ORDERS = ("resolution", "aesthetic", "similarity", "first")
"""Which of several duplicates is kept."""
