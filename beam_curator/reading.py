"""`Reading`: how a shard's members become samples, and which of them are image, caption and fields."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from beam_curator.errors import UsageError
from beam_curator.field_names import ALL, NONE, PREFIX
from beam_curator.given_values import switch

SeveralImages = Literal["fail", "first", "all"]

SEVERAL_IMAGES: tuple[SeveralImages, ...] = get_args(SeveralImages)


@dataclasses.dataclass(frozen=True, order=True)
class Reading:
    """The way in which a shard's members become samples, and which of them are image, caption and fields.

    Attributes:
      group_by_key: True: all members of a tar that share a key are one sample, wherever they stand; False: only
        consecutive members are.
      several_images: what becomes of a sample that has more than one image: "fail": it fails; "first": its first image
        is scored; "all": all its images are scored, and the worst score decides.
      image_from: extensions of the member that is the image, in the order of preference; empty for the sample's only
        image (see `sources.sample_images`).
      caption_from: where the caption is, in the order of preference: extensions ("txt"), or fields of a JSON member
        ("json:caption"); empty for the usual names (see `sources.tar.captions`).
      carry: names of the fields of a sample's metadata that become columns; `("all",)` for all, empty for none. It
        changes columns, never which samples there are.
      image_column: name of the column of images in Parquet files, or of their paths in lists; "" to find it by type and
        name (see `sources.columns`).
      caption_column: name of the column of captions in these; "" for one of the usual names.
    """

    group_by_key: bool = False
    several_images: SeveralImages = "fail"
    image_from: tuple[str, ...] = ()
    caption_from: tuple[str, ...] = ()
    carry: tuple[str, ...] = (ALL,)
    image_column: str = ""
    caption_column: str = ""

    def __post_init__(self) -> None:
        """Takes lists, and text with commas or semicolons, for tuples.

        Raises:
          UsageError: for values that mean nothing.
        """
        object.__setattr__(self, "group_by_key", switch(self.group_by_key, "group_by_key"))
        if self.several_images not in SEVERAL_IMAGES:
            raise UsageError(f"several_images={self.several_images!r} is none of {', '.join(SEVERAL_IMAGES)}")
        for name in ("image_from", "caption_from"):
            object.__setattr__(self, name, sources(name, getattr(self, name)))
        object.__setattr__(self, "carry", carried(self.carry))
        for name in ("image_column", "caption_column"):
            if not isinstance(column := getattr(self, name), str):
                raise UsageError(f"{name}={column!r}: the name of a column is wanted")

    @property
    def identity(self) -> dict[str, Any]:
        """The part that decides samples, images and captions, as JSON: all attributes but `carry`."""
        return {
            "group_by_key": self.group_by_key,
            "several_images": self.several_images,
            "image_from": list(self.image_from),
            "caption_from": list(self.caption_from),
            **{name: value for name in ("image_column", "caption_column") if (value := getattr(self, name))},
        }


def sources(name: str, given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The extensions that `image_from` or `caption_from` names: in lower case, without the dot before.

    Raises:
      UsageError: for what is none.
    """
    parts = re.split(r"[,;]", given) if isinstance(given, str) else _listed(given)
    if not all(isinstance(part, str) for part in parts):
        raise UsageError(f"{name}={given!r}: write extensions, such as {_EXAMPLES[name]}, with commas between them")
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


def carried(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The fields that `carry` names, in order; `("all",)`, or nothing where it is None or "none".

    Raises:
      UsageError: for a name that is empty, and for "all" or "none" beside others.
    """
    parts = given.split(",") if isinstance(given, str) else _listed(given)
    if not all(isinstance(part, str) and part.strip() for part in parts):
        raise UsageError(
            f"carry={given!r}: write {ALL}, {NONE}, or names of fields with commas between them, as url,uid"
        )
    named = {part.strip().removeprefix(PREFIX) for part in parts}
    if named & {ALL, NONE} and len(named) > 1:
        raise UsageError(f"carry={given!r}: {ALL} and {NONE} stand alone")
    return () if named == {NONE} else tuple(sorted(named))


def _listed(given: Any) -> list[Any]:
    """Makes a list of what was given as several, or as one thing; [] of None."""
    return list(given) if isinstance(given, Iterable) else [] if given is None else [given]


_EXAMPLES = {"image_from": "jpg or left.png", "caption_from": "txt or json:caption"}

DEFAULT_READING = Reading()
