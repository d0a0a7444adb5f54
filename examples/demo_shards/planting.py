"""Plans what is wrong on purpose in the demo shards, and where."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from beam_curator.errors import UsageError
from examples.demo_shards.pictures import choose_subject

_LARGEST_SHARD = 10_000  # keys have four digits for the place
_MOST_SHARDS = 100_000  # and five for the shard


class Planted(str, Enum):
    """Something planted in a sample; the value is how it is told to people."""

    EXACT_DUPLICATE = "exact duplicate"
    NEAR_DUPLICATE = "near duplicate"
    CUT_IMAGE = "cut image"
    GARBAGE_IMAGE = "garbage image"
    EMPTY_IMAGE = "empty image"
    MISNAMED_PNG = "PNG named .jpg"
    NO_IMAGE = "sample without an image"
    RGBA_PNG = "RGBA PNG"
    GREY_JPEG = "grey JPEG"
    CMYK_JPEG = "CMYK JPEG"
    EXIF_ROTATED = "EXIF-rotated JPEG"
    SUBFOLDER_KEY = "key in a subfolder"


COUNTS: dict[Planted, int] = dict.fromkeys(Planted, 1)
COUNTS[Planted.EXACT_DUPLICATE] = 6
COUNTS[Planted.NEAR_DUPLICATE] = 5


@dataclass(frozen=True)
class DemoSize:
    """The number of samples, which are numbered across shards, and the seed that decides all the rest."""

    shards: int
    samples_per_shard: int
    seed: int

    def __post_init__(self) -> None:
        if not 2 <= self.shards <= _MOST_SHARDS:
            raise UsageError(f"--shards={self.shards}: give 2 to {_MOST_SHARDS}; the last one is written damaged")
        if not 20 <= self.samples_per_shard <= _LARGEST_SHARD:
            raise UsageError(
                f"--samples_per_shard={self.samples_per_shard}: give 20 to {_LARGEST_SHARD}; "
                "with fewer there is no room for all that is planted"
            )
        if self.seed < 0:
            raise UsageError(f"--seed={self.seed}: give 0 or more")

    @property
    def samples(self) -> int:
        """The number of samples written, the ones lost to the cut included."""
        return self.shards * self.samples_per_shard

    @property
    def readable(self) -> int:
        """The number of samples before the cut; the sample with this index is cut in its image."""
        return self.samples - max(self.samples_per_shard // 8, 1)


@dataclass(frozen=True)
class Plant:
    """The fault that is planted at an index, and for a duplicate the index of its original."""

    planted: Planted
    original: int | None = None


def plan(demo: DemoSize) -> dict[int, Plant]:
    """Plans what to plant at which index, all of it before the cut."""
    order = [int(i) for i in np.random.default_rng(demo.seed).permutation(demo.readable)]
    wanted = [planted for planted, count in COUNTS.items() for _ in range(count)]
    places, plain = order[: len(wanted)], order[len(wanted) :]
    # The near copies of a tiny or synthetic image would be near a great many others as well.
    photos = [i for i in plain if _suits_a_near_copy(demo.seed, i)]
    pools = {Planted.EXACT_DUPLICATE: plain, Planted.NEAR_DUPLICATE: photos or plain}
    plants: dict[int, Plant] = {}
    used: set[int] = set()
    for turn, (place, planted) in enumerate(zip(places, wanted, strict=True)):
        original = None
        if planted in pools:
            unused = [i for i in pools[planted] if i not in used]
            original = _pick_original(demo, place, unused or pools[planted], elsewhere=turn % 2 == 0)
            used.add(original)
        plants[place] = Plant(planted, original)
    return plants


def _suits_a_near_copy(seed: int, index: int) -> bool:
    subject = choose_subject(seed, index)
    return subject.is_photo and min(subject.width, subject.height) >= 200


def _pick_original(demo: DemoSize, place: int, candidates: list[int], *, elsewhere: bool) -> int:
    """The first candidate in another shard than `place`, or in the same one, if there is such."""
    shard = place // demo.samples_per_shard
    fitting = [i for i in candidates if (i // demo.samples_per_shard != shard) == elsewhere]
    return (fitting or candidates)[0]
