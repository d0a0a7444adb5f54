"""Tells which members of a sample are images, which one stands for it, and when none may."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from beam_curator.images import IMAGE_EXTENSIONS
from beam_curator.reading import Reading
from beam_curator.samples import DOTTED_NAMES, Finding, Member, Sample, ShardRange, readable

_SHOWN = 6
_MANY = 5  # views of one thing, such as left and right, are fewer
NO_IMAGE = "no image in the sample"
SEVERAL = "several images in the sample (--several_images first or all takes it, --image_from names its image)"


@dataclasses.dataclass(frozen=True)
class SampleImages:
    """The images of one sample.

    Attributes:
      chosen: the members that are scored, the one that stands for the sample first; none where the sample fails.
      count: how many of its members are images.
      failure: why it has no image that may stand for it, or None.
    """

    chosen: Sequence[Member]
    count: int
    failure: str | None = None

    @property
    def first(self) -> str | None:
        """The extension of the member that stands for the sample."""
        return self.chosen[0].extension if self.chosen else None


def images_of(sample: Sample, reading: Reading) -> SampleImages:
    """The images of a sample, as `reading` chooses among them.

    An image is a member whose last extension ("png" of "seg.png") is one of a format that we decode, or which
    `image_from` names. The first one is that which `image_from` names first; else the first in the tar, one with a
    plain extension before others.
    """
    named = [sample.members[name] for name in reading.image_from if name in sample.members]
    found = [member for member in sample.members.values() if is_image(member) or member in named]
    ordered = [*named, *sorted((m for m in found if m not in named), key=lambda member: "." in member.extension)]
    failure = sample.failure or _failure(sample, ordered, named, reading)
    if failure:
        return SampleImages((), len(found), failure)
    return SampleImages(ordered if reading.several_images == "all" else ordered[:1], len(found))


def images_of_samples(
    samples: Sequence[Sample], reading: Reading
) -> tuple[list[Member | None], list[int], dict[int, str]]:
    """The images of n samples that are scored.

    Returns:
      n first images, None where a sample has none, then the others; the sample of each of these others; and why some
      samples have none, by their indices.
    """
    firsts: list[Member | None] = []
    others: list[Member] = []
    more_of: list[int] = []
    failures: dict[int, str] = {}
    for index, sample in enumerate(samples):
        images = images_of(sample, reading)
        if images.failure is not None:
            failures[index] = images.failure
        firsts.append(images.chosen[0] if images.chosen else None)
        others += images.chosen[1:]
        more_of += [index] * len(images.chosen[1:])
    return [*firsts, *others], more_of, failures


def _failure(sample: Sample, found: Sequence[Member], named: Sequence[Member], reading: Reading) -> str | None:
    apart = ": its key stands elsewhere in the shard too, --group_by_key joins them" if sample.same_key > 1 else ""
    if reading.image_from and not named:
        return f"no member of --image_from in the sample{apart or ': it has ' + _names(list(sample.members.values()))}"
    if not found:
        return f"{NO_IMAGE}{apart}"
    if len(found) > 1 and reading.several_images == "fail" and not reading.image_from:
        return f"{SEVERAL}: {_names(found)}"
    return None


def _names(members: Sequence[Member]) -> str:
    shown = ", ".join(readable(member.extension) for member in members[:_SHOWN])
    return shown if len(members) <= _SHOWN else f"{shown} and {len(members) - _SHOWN:,} more"


def is_image(member: Member) -> bool:
    """Tells whether a member's name says that it is an image."""
    return member.extension.rsplit(".", 1)[-1] in IMAGE_EXTENSIONS


def dotted_names(range: ShardRange, samples: Sequence[Sample]) -> list[Finding]:
    """Tells of samples that look like several whose names have dots: IMG.0001.jpg, IMG.0002.jpg have one key, "IMG"."""
    collapsed = [sample for sample in samples if _collapsed(sample)]
    if not collapsed:
        return []
    first = collapsed[0]
    image = next(member for member in first.members.values() if is_image(member))
    name = readable(f"{first.key}.{image.extension}")
    return [Finding(DOTTED_NAMES, range.url, first.offset, name, len(collapsed))]


def _collapsed(sample: Sample) -> bool:
    """Tells whether each image has a part of its own between the key and the last extension, and these look like
    numbers, or are many."""
    stems = {member.extension.rpartition(".")[0] for member in sample.members.values() if is_image(member)}
    if len(stems) < 2 or "" in stems:
        return False
    return len(stems) >= _MANY or all(any(letter.isdecimal() for letter in stem) for stem in stems)
