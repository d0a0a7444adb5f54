"""How a shard's members become samples, and what of a sample is looked at."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

from beam_curator.errors import UsageError

SeveralImages = Literal["fail", "first", "all"]

SEVERAL_IMAGES: tuple[SeveralImages, ...] = get_args(SeveralImages)


@dataclasses.dataclass(frozen=True, order=True)
class Reading:
    """How a shard's members become samples, and what of a sample is looked at. It shapes the rows.

    Attributes:
      group_by_key: whether all members of a shard that share a key are one sample, wherever they stand; else only
        consecutive ones are.
      several_images: what becomes of a sample that has more than one image: it fails, its first image stands for it,
        or all of them are scored and the worst score decides.
      image_from: extensions of the member that is the image, in the order of preference; none: see `sample_images`.
      caption_from: where the caption is, in the order of preference: extensions ("txt"), or fields of a JSON member
        ("json:caption"); none: see `tar.captions`.
    """

    group_by_key: bool = False
    several_images: SeveralImages = "fail"
    image_from: tuple[str, ...] = ()
    caption_from: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Takes lists, and text with commas or semicolons, for tuples.

        Raises:
          UsageError: for values that mean nothing.
        """
        if self.several_images not in SEVERAL_IMAGES:
            raise UsageError(f"several_images={self.several_images!r} is none of {', '.join(SEVERAL_IMAGES)}")
        for name in ("image_from", "caption_from"):
            object.__setattr__(self, name, sources(name, getattr(self, name)))

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from all others."""
        return {
            "group_by_key": self.group_by_key,
            "several_images": self.several_images,
            "image_from": list(self.image_from),
            "caption_from": list(self.caption_from),
        }


def sources(name: str, given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The extensions that `image_from` or `caption_from` names: in lower case, without the dot before.

    Raises:
      UsageError: for what is none.
    """
    parts = re.split(r"[,;]", given) if isinstance(given, str) else list(given or ())
    named = [part.strip().removeprefix(".") for part in parts if part.strip()]
    if parts != [""] and len(named) < len(parts):
        raise UsageError(f"{name}={given!r}: an extension is missing")
    found = []
    for source in named:
        extension, colon, field = source.partition(":")
        if "/" in extension or not extension or (colon and (name == "image_from" or not field)):
            raise UsageError(f"{name}={given!r}: write extensions, such as {_EXAMPLES[name]}, with commas between them")
        found.append(f"{extension.lower()}{colon}{field}")
    return tuple(dict.fromkeys(found))


_EXAMPLES = {"image_from": "jpg or left.png", "caption_from": "txt or json:caption"}

DEFAULT_READING = Reading()
