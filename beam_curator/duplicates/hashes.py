"""Hashes of pictures as numbers, and how far two pictures are apart by them.

Two pictures are perceptual duplicates if, and only if, their distance is `bits` at most, both have a texture of at
least `TEXTURE` and a hash of at least `LEAST_ONES` ones, and texture and colours of both agree (`likeness`). Other
pictures are duplicates of equal files alone.

The distance is the least of those that there are: in how many bits the 256-bit hashes differ, and what they count more
between things on white (`likeness.counted`); and in how many the hash of one differs from that of the other *as an edit
leaves it* (without its margin, or without its lights), counted likewise, and `EDIT_BITS` for the edit. Hashes that meet
in no table (`hash_tables`), or whose colours do not agree, have no distance.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates.bit_counts import ones_of

BITS = 32
"""The most bits by which duplicates are apart, by default."""

TEXTURE = 25
"""The least texture of pictures that are told apart by their hashes. Of 1,000 crops of photographs, half of them
blurred, that have 25 to 50, no two came as near as 34 bits; a scanned blank page has 0."""

CROPPED, CLIPPED = range(2)
"""The edits that hashes are known of: a slight crop, and lights that are clipped (`images.hashing`)."""

EDITS = 2
"""The number of edits."""

EDIT_BITS = 12
"""The bits that an edit counts. Of 23 photographs and 60 drawn ones, copies cropped by 2 % differ in 8 bits at most
from the hash that foresees it, and those made 1.3 times as bright in 22."""

LEAST_ONES = 48
"""The least bits set of a hash that tells anything. A half of all frequencies is above their median, which is 128 bits;
where a picture is its own mirror image tower of them are 0, and 64 are set. Stripes and gradients, one row like the
other, have no frequency that is counted, and all the same hash; those that are mirrored both ways are too near."""

Indices = NDArray[np.int64]

_ID_BYTES = 32 + 4 + 48 + 32 * EDITS

_WHITE = 220
_ON_WHITE = 3
_ONE_COLOUR = 2
_ON_ONE_GROUND = 4


@dataclasses.dataclass(frozen=True)
class Hashes:
    """Hashes of n pictures.

    Attributes:
      fine: uint64 [n, 4], `phash256`.
      texture: int32 [n].
      colours: uint8 [n, 48]; all 0 where they are not known.
      edited: uint64 [EDITS, n, 4], what `phash256` would be after each edit; where that is not known, or tells nothing,
        the same as `fine`, beside which it finds nothing.
    """

    fine: NDArray[np.uint64]
    texture: NDArray[np.int32]
    colours: NDArray[np.uint8]
    edited: NDArray[np.uint64]

    @classmethod
    def together(cls, several: Sequence[Hashes]) -> Hashes:
        """Concatenates several sets of hashes."""
        axes = {"fine": 0, "texture": 0, "colours": 0, "edited": 1}
        columns = (np.concatenate([getattr(one, name) for one in several], axis=axis) for name, axis in axes.items())
        return cls(*columns)

    def __len__(self) -> int:
        return len(self.fine)

    def take(self, which: Indices) -> Hashes:
        """Takes the hashes of some pictures."""
        return Hashes(self.fine[which], self.texture[which], self.colours[which], self.edited[:, which])

    @property
    def ids(self) -> NDArray[np.void]:
        """A name for each picture, which those share that are equal in all: void148 [n]."""
        words = [_bytes_in(words) for words in (self.fine, *self.edited)]
        texture = self.texture.astype(">u4").view(np.uint8).reshape(-1, 4)
        return np.hstack([words[0], texture, self.colours, *words[1:]]).view(f"V{_ID_BYTES}").ravel()

    @functools.cached_property
    def unlike_fine(self) -> Sequence[Indices]:
        """The pictures whose hash each edit changes, ascending; for each edit."""
        return [np.flatnonzero((words != self.fine).any(axis=1)) for words in self.edited]

    @functools.cached_property
    def chroma(self) -> NDArray[np.int16]:
        """The amounts by which blue and red are above the grey level in each part: int16 [n, 32]."""
        found = np.empty((len(self), 32), np.int16)
        for start in range(0, len(self), 1 << 16):
            part = slice(start, start + (1 << 16))
            red, _, blue = np.moveaxis(self.colours[part].reshape(-1, 16, 3), 2, 0).astype(np.int16)
            grey = self.grey[part]
            found[part] = np.hstack([blue - grey, red - grey])
        return found

    @functools.cached_property
    def chroma_squared(self) -> NDArray[np.int64]:
        """The squared length of each `chroma`: int64 [n]."""
        return np.einsum("ij,ij->i", self.chroma, self.chroma, dtype=np.int64)

    @functools.cached_property
    def grey(self) -> NDArray[np.int16]:
        """The grey level of each part: int16 [n, 16]."""
        found = np.empty((len(self), 16), np.int16)
        for start in range(0, len(self), 1 << 16):
            red, green, blue = np.moveaxis(self.colours[start : start + (1 << 16)].reshape(-1, 16, 3), 2, 0).astype(int)
            found[start : start + (1 << 16)] = (299 * red + 587 * green + 114 * blue + 500) // 1000
        return found

    @functools.cached_property
    def has_colours(self) -> NDArray[np.bool_]:
        """The pictures whose colours are known: bool [n]. What has any texture is not black all over."""
        return np.asarray(self.colours.any(axis=1))

    @functools.cached_property
    def on_white(self) -> NDArray[np.bool_]:
        """The pictures that are white, or nearly so, in three of their 16 parts or more: bool [n]."""
        return (self.colours.reshape(-1, 16, 3).min(axis=2) >= _WHITE).sum(axis=1) >= _ON_WHITE

    @functools.cached_property
    def on_one_ground(self) -> NDArray[np.bool_]:
        """The pictures that have one colour in four of their 16 parts or more, within two levels: bool [n]."""
        found = np.empty(len(self), bool)
        for start in range(0, len(self), 1 << 12):
            parts = self.colours[start : start + (1 << 12)].reshape(-1, 16, 3).astype(np.int16)
            equal = np.abs(parts[:, :, None] - parts[:, None]).max(axis=3) <= _ONE_COLOUR
            found[start : start + (1 << 12)] = (equal.sum(axis=2) >= _ON_ONE_GROUND).any(axis=1)
        return found


def _bytes_in(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Hashes as bytes: uint8 [n, 32] of uint64 [n, 4]."""
    return words.astype(">u8").view(np.uint8).reshape(-1, 32)


def hashes_of(
    phash256: Sequence[str | None],
    texture: Sequence[int | None],
    colours: Sequence[str | None] | None = None,
    cropped: Sequence[str | None] | None = None,
    clipped: Sequence[str | None] | None = None,
) -> tuple[Hashes, NDArray[np.bool_]]:
    """The facts of n pictures as numbers, and which pictures can be compared: bool [n].

    Those without one of the first two facts, with too little texture or too few ones, cannot; their numbers are 0.
    Those without colours are taken for grey. `cropped` and `clipped` are `phash256_cropped` and `phash256_clipped`.
    """
    nothing: Sequence[None] = [None] * len(phash256)
    facts = zip(phash256, texture, strict=True)
    there = np.array([None not in fact and (fact[1] or 0) >= TEXTURE for fact in facts], bool)
    fine = _words_of(phash256, there)
    there &= ones_of(fine).sum(axis=1) >= LEAST_ONES
    fine[~there] = 0
    roughness = np.array([value if ok else 0 for value, ok in zip(texture, there.tolist(), strict=True)], np.int32)
    edited = np.stack([_words_of(texts or nothing, there) for texts in (cropped, clipped)])
    edited = np.where(ones_of(edited).sum(axis=2, keepdims=True) >= LEAST_ONES, edited, fine)
    return Hashes(fine, roughness, _bytes_of(colours or nothing, there, 48), edited), there


def _words_of(texts: Sequence[str | None], there: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Hashes in hex digits as numbers: uint64 [n, 4], 0 for those that are not there."""
    return _bytes_of(texts, there, 32).view(">u8").astype(np.uint64)


def _bytes_of(texts: Sequence[str | None], there: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """Hex digits as bytes: uint8 [n, size], 0 for those that are not there.

    Raises:
      ValueError: for what is not so many hex digits.
    """
    nothing = "00" * size
    given = [text if ok and text is not None else nothing for text, ok in zip(texts, there.tolist(), strict=True)]
    hex_digits = re.compile(f"[0-9a-fA-F]{{{2 * size}}}")
    other = next((text for text in given if not hex_digits.fullmatch(text)), None)
    if other is not None:
        raise ValueError(f"{other!r} is not {2 * size} hex digits")
    return np.frombuffer(bytes.fromhex("".join(given)), np.uint8).reshape(-1, size)


def bits_between(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Counts the bits in which hashes differ: uint16 [...] of uint64 [4, ...] twice, which are broadcast."""
    found = ones_of(one[0] ^ other[0]).astype(np.uint16)
    for a, b in zip(one[1:], other[1:], strict=True):
        found += ones_of(a ^ b)
    return found
