"""Hashes of pictures as numbers, and which two pictures they tell to be one.

Two pictures are perceptual duplicates if, and only if, their distance is `bits` at most, both have a texture of at
least `TEXTURE` and a hash of at least `LEAST_ONES` ones, neither twice the texture of the other, and their colours
agree (`alike`). Other pictures are duplicates of equal files alone. Hashes are of shape: without the last two rules, of
1,000 drawn products on white 35 pairs were taken for copies, most of them one shape in two colours.

The distance is the least of those that there are: in how many bits the 256-bit hashes differ, and a third more of
things on white; and in how many the hash of one differs from that of the other *as an edit leaves it* (without its
margin, or without its lights), and `EDIT_BITS` for the edit. Hashes that meet in no table (`hash_tables`) have no
distance.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates import hash_tables
from beam_curator.duplicates.bit_counts import ones_of

BITS = 32
"""How far duplicates are apart at most, by default."""

TEXTURE = 25
"""The least texture of pictures that are told apart by their hashes. Of 1,000 crops of photographs, half of them
blurred, that have 25 to 50, no two came as near as 34 bits; a scanned blank page has 0."""

EDITS = 2
"""What edits hashes are known of: a slight crop, and lights that are clipped (`images.hashing`)."""

EDIT_BITS = 12
"""What an edit counts, in bits. Of 23 photographs and 60 drawn ones, copies cropped by 2 % differ in 8 bits at most
from the hash that foresees it, and those made 1.3 times as bright in 22; of 11 times 1,000 products on white (half a
million pairs each), those that are more than 32 bits apart as they are, 24 at least from one another as edited."""

LEAST_ONES = 48
"""The least bits set of a hash that tells anything. A half of all frequencies is above their median, which is 128 bits;
where a picture is its own mirror image tower of them are 0, and 64 are set. Stripes and gradients, one row like the
other, have no frequency that is counted, and all the same hash; those that are mirrored both ways are too near."""

Indices = NDArray[np.int64]

_ID_BYTES = 32 + 4 + 48 + 32 * EDITS

_PAIRS_AT_A_TIME = 1 << 17
_COLOURED = 8
_WHITE = 248
_ON_WHITE = 3
_GREY_LEVELS = 12
_GAINS = range(50, 74)
"""How much lighter a copy may be, in fiftieths."""

_GAIN_OF_1 = 50
_LEVELS_APART = 3
_SHADES_AT_A_TIME = 1 << 13


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
        """Those of several, one after the other."""
        axes = {"fine": 0, "texture": 0, "colours": 0, "edited": 1}
        columns = (np.concatenate([getattr(one, name) for one in several], axis=axis) for name, axis in axes.items())
        return cls(*columns)

    def __len__(self) -> int:
        return len(self.fine)

    def take(self, which: Indices) -> Hashes:
        """Those of some pictures."""
        return Hashes(self.fine[which], self.texture[which], self.colours[which], self.edited[:, which])

    @property
    def ids(self) -> NDArray[np.void]:
        """A name for each picture, which those share that are equal in all: void148 [n]."""
        words = [_bytes_in(words) for words in (self.fine, *self.edited)]
        texture = self.texture.astype(">u4").view(np.uint8).reshape(-1, 4)
        return np.hstack([words[0], texture, self.colours, *words[1:]]).view(f"V{_ID_BYTES}").ravel()

    @functools.cached_property
    def unlike_fine(self) -> Sequence[Indices]:
        """Of each edit the pictures whose hash it changes, ascending."""
        return [np.flatnonzero((words != self.fine).any(axis=1)) for words in self.edited]

    @functools.cached_property
    def chroma(self) -> NDArray[np.int16]:
        """By how much blue and red are above the grey level in each part: int16 [n, 32]."""
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
    def on_white(self) -> NDArray[np.bool_]:
        """Which pictures are white in three of their 16 parts or more: bool [n]."""
        return (self.colours.reshape(-1, 16, 3).min(axis=2) >= _WHITE).sum(axis=1) >= _ON_WHITE


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
    """In how many bits hashes differ: uint16 [...] of uint64 [4, ...] twice, which are broadcast."""
    found = ones_of(one[0] ^ other[0]).astype(np.uint16)
    for a, b in zip(one[1:], other[1:], strict=True):
        found += ones_of(a ^ b)
    return found


@dataclasses.dataclass(frozen=True)
class Sides:
    """What is compared of two pictures: a hash of one with a hash of the other.

    Attributes:
      one, other: uint64 [n, 4], these hashes of all pictures.
      counts: how many bits are added to those in which they differ.
      tables: in how many tables they may meet.
    """

    one: NDArray[np.uint64]
    other: NDArray[np.uint64]
    counts: int
    tables: int


def sides(hashes: Hashes, bits: int) -> list[Sides]:
    """All that is compared of two pictures whose distance is asked for up to so many bits."""
    found = [Sides(hashes.fine, hashes.fine, 0, hash_tables.TABLES)]
    for words, changed in zip(hashes.edited, hashes.unlike_fine, strict=True):
        if len(changed) and bits >= EDIT_BITS:
            both_ways = (words, hashes.fine), (hashes.fine, words)
            found += [Sides(one, other, EDIT_BITS, hash_tables.TABLES_OF_EDITED) for one, other in both_ways]
    return found


def distances(hashes: Hashes, one: Indices, other: Indices, bits: int) -> NDArray[np.float64]:
    """How far pairs of pictures are apart, in bits: float64 [m]; NaN of those that are no duplicates."""
    found = np.full(len(one), np.nan)
    for start in range(0, len(one), _PAIRS_AT_A_TIME):
        a, b = one[start : start + _PAIRS_AT_A_TIME], other[start : start + _PAIRS_AT_A_TIME]
        least = _distances(hashes, a, b, bits)
        near = np.flatnonzero(least <= bits)
        near = near[alike(hashes, a[near], b[near])]
        found[near + start] = least[near]
    return found


def counted(hashes: Hashes, one: Indices, other: Indices, apart: NDArray[np.int64]) -> NDArray[np.int64]:
    """How far pairs of pictures are apart whose hashes differ in so many bits: int64 [m].

    Bits between two things on white count a third more, rounded up: there is less to tell them apart. Edits of 150
    drawn ones differ in 14 at most, but for much brighter and cropped copies, which others of their hashes find.
    """
    white = hashes.on_white[one] & hashes.on_white[other]
    return np.where(white, (4 * apart + 2) // 3, apart)


def _distances(hashes: Hashes, one: Indices, other: Indices, bits: int) -> NDArray[np.float64]:
    """The same whatever their texture and colours; infinite where they have none up to `bits`."""
    least = np.full(len(one), np.inf)
    for compared in sides(hashes, bits):
        differing = (compared.one[one] ^ compared.other[other]).T
        apart = ones_of(differing).sum(axis=0, dtype=np.int64)
        apart = apart + compared.counts if compared.counts else counted(hashes, one, other, apart)
        near = np.flatnonzero((apart <= bits) & (apart < least))
        near = near[hash_tables.meet(differing[:, near], compared.tables)]
        least[near] = apart[near]
    return least


def alike(hashes: Hashes, one: Indices, other: Indices) -> NDArray[np.bool_]:
    """Which pairs agree in texture and in colour: bool [m].

    Neither has more than twice the texture of the other. Where both have colour, their chroma (blue and red above the
    grey level in 16 parts, a vector of 32 numbers) points the same way, cosine 0.6 or more, and neither is shorter than
    0.6 times the other. What has none (a length below 8 levels) may be a grey copy of what has.

    Where both are white in three of their 16 parts or more, the rest has to tell them apart: their cosine is 0.96 or
    more, one has the colours of the other, made lighter or not (`_of_one_shade`), and a grey copy has the same grey
    levels, within 12, in all parts.

    Measured: of photographs, tiles of them and drawn ones, edits (JPEG 30 to brightness x 1.3) leave a cosine of 0.68
    and lengths of 0.68 at least, but for two pictures of pale colours, and textures of 0.53; of things on white,
    cosines of 0.966, and colours within 3.0 levels, from which different things in shades of one colour are 3.4 and
    more apart.
    """
    texture = hashes.texture[one].astype(np.int64), hashes.texture[other].astype(np.int64)
    found = 2 * np.minimum(*texture) >= np.maximum(*texture)
    a, b = hashes.chroma_squared[one], hashes.chroma_squared[other]
    white = hashes.on_white[one] & hashes.on_white[other]
    grey = np.minimum(a, b) < _COLOURED**2
    painted = np.flatnonzero(found & ~grey)
    found[painted] = _of_one_hue(hashes, one[painted], other[painted], white[painted])
    shaded = np.flatnonzero(found & ~grey & white)
    found[shaded] = _of_one_shade(hashes, one[shaded], other[shaded])
    faded = np.flatnonzero(found & grey & white & (np.maximum(a, b) >= _COLOURED**2))
    apart = np.abs(hashes.grey[one[faded]] - hashes.grey[other[faded]])
    found[faded] = apart.max(axis=1, initial=0) <= _GREY_LEVELS
    return found


def _of_one_hue(hashes: Hashes, one: Indices, other: Indices, white: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of pairs that have colour, which agree in it: bool [m]."""
    a, b = hashes.chroma_squared[one], hashes.chroma_squared[other]
    dot = np.einsum("ij,ij->i", hashes.chroma[one].astype(np.int32), hashes.chroma[other].astype(np.int32))
    dot = dot.astype(np.int64)
    least = np.where(white, 96**2, 60**2)
    return (dot > 0) & (100**2 * dot**2 >= least * a * b) & (100 * np.minimum(a, b) >= 36 * np.maximum(a, b))


def _of_one_shade(hashes: Hashes, one: Indices, other: Indices) -> NDArray[np.bool_]:
    """Of pairs on white, in which one has the colours of the other, or these made lighter: bool [m]."""
    found = np.zeros(len(one), bool)
    for start in range(0, len(one), _SHADES_AT_A_TIME):
        some = slice(start, start + _SHADES_AT_A_TIME)
        a, b = (255 - hashes.colours[rows[some]].reshape(-1, 16, 3).astype(np.int64) for rows in (one, other))
        for gain in _GAINS:
            found[some] |= _lighter(a, b, gain) | _lighter(b, a, gain)
            if found[some].all():
                break
    return found


def _lighter(dark: NDArray[np.int64], light: NDArray[np.int64], gain: int) -> NDArray[np.bool_]:
    """Which pictures are others made lighter by a gain g, within `_LEVELS_APART` in the quadratic mean: bool [m].

    A part of which a share s has the colour c, and the rest is white, is d = s (255 - c) below white; made lighter it
    is s (255 - g c) = g d - (g - 1) 255 s. Of s it is known that 255 s is one number for red, green and blue, at most
    255, and at least the largest d of these: the one that fits best is taken. All numbers are whole, in units of 1/150.

    Args:
      dark, light: int64 [m, 16, 3], how far below white parts are.
      gain: g, in fiftieths.
    """
    more = 3 * (gain - _GAIN_OF_1)
    share = np.clip((gain * dark - _GAIN_OF_1 * light).sum(axis=2), more * dark.max(axis=2), more * 255)
    apart = np.maximum(3 * gain * dark - share[:, :, None], 0) - 3 * _GAIN_OF_1 * light
    return np.asarray(np.einsum("ijk,ijk->i", apart, apart) <= 48 * (3 * _GAIN_OF_1 * _LEVELS_APART) ** 2)
