"""Whether two pictures that are near by a hash are one: what their texture and colours say, and what bits count.

A hash is of shape: a shirt in two colours has the same. Things on white are told by it least, since there is little
else in the picture. What is asked of two pictures depends on what both are:

* *on white*, if three of their 16 parts are nearly white or more;
* *on one ground*, if four of them have one colour, or more;
* *plain*, if one of both has a texture below `PLAIN`. Photographs have 256 to 750, but for one of six; drawn things on
  white 20 to 250.

Between plain things on white bits count double, and all colours have to be the same, or one is a grey copy: a lighter
copy of a plain thing is what the same thing in a lighter colour is. Of other things on white, and of plain ones on
another ground, one has the colours of the other, made lighter or not. Of all else, hues agree.

Measured on photographs and on what `benchmarks.lookalikes` and `benchmarks.products` draw: see docs/performance.md.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from beam_curator.duplicates import hash_tables
from beam_curator.duplicates.bit_counts import ones_of
from beam_curator.duplicates.hashes import CLIPPED, EDIT_BITS, Hashes, Indices

PLAIN = 256
"""Below which texture a picture is plain."""

_PAIRS_AT_A_TIME = 1 << 17
_SHADES_AT_A_TIME = 1 << 13

_COLOURED = 8
_SAME = {"mean": 4, "most": 8}
_SAME_CROPPED = {"mean": 6, "most": 16}
_TINGED = 4
_GREY_LEVELS = 4
_LEVELS_APART = 8
_GAINS = range(50, 74)
"""The factors by which a copy may be lighter, in fiftieths."""

_GAIN_OF_1 = 50


@dataclasses.dataclass(frozen=True)
class Sides:
    """The hashes that are compared of two pictures: a hash of one with a hash of the other.

    Attributes:
      one, other: uint64 [n, 4], these hashes of all pictures.
      edit: which edit one of both foresees; None where both are of whole pictures.
    """

    one: NDArray[np.uint64]
    other: NDArray[np.uint64]
    edit: int | None

    @property
    def counts(self) -> int:
        """The number of bits that are added to those in which they differ."""
        return 0 if self.edit is None else EDIT_BITS

    @property
    def tables(self) -> int:
        """The number of tables in which they may meet."""
        return hash_tables.TABLES if self.edit is None else hash_tables.TABLES_OF_EDITED


def sides(hashes: Hashes, bits: int) -> list[Sides]:
    """Lists all that is compared of two pictures whose distance is asked for up to so many bits."""
    found = [Sides(hashes.fine, hashes.fine, None)]
    for edit, (words, changed) in enumerate(zip(hashes.edited, hashes.unlike_fine, strict=True)):
        if len(changed) and bits >= EDIT_BITS:
            found += [Sides(words, hashes.fine, edit), Sides(hashes.fine, words, edit)]
    return found


def distances(hashes: Hashes, one: Indices, other: Indices, bits: int) -> NDArray[np.float64]:
    """Computes how far pairs of pictures are apart, in bits: float64 [m]; NaN of those that are no duplicates."""
    found = np.full(len(one), np.nan)
    for start in range(0, len(one), _PAIRS_AT_A_TIME):
        some = slice(start, start + _PAIRS_AT_A_TIME)
        least = _distances(hashes, one[some], other[some], bits)
        found[some] = np.where(least <= bits, least, np.nan)
    return found


def _distances(hashes: Hashes, one: Indices, other: Indices, bits: int) -> NDArray[np.float64]:
    """The same for some pairs; infinite of those that are no duplicates."""
    least = np.full(len(one), np.inf)
    for compared in sides(hashes, bits):
        differing = (compared.one[one] ^ compared.other[other]).T
        apart = ones_of(differing).sum(axis=0, dtype=np.int64)
        apart = counted(hashes, one, other, apart, compared.edit)
        near = np.flatnonzero((apart <= bits) & (apart < least))
        near = near[hash_tables.meet(differing[:, near], compared.tables)]
        near = near[alike(hashes, one[near], other[near], compared.edit)]
        least[near] = apart[near]
    return least


def counted(
    hashes: Hashes, one: Indices, other: Indices, apart: NDArray[np.int64], edit: int | None
) -> NDArray[np.int64]:
    """Computes how far pairs of pictures are apart of which hashes differ in so many bits: int64 [m].

    Bits between two things on white count a third more, rounded up, and between plain ones double. Of these, edits that
    leave their colours change 14 bits at most, but of some that are their own mirror image.
    """
    white, plain = _kinds(hashes, one, other)
    found = np.where(white, np.where(plain, 2 * apart, (4 * apart + 2) // 3), apart)
    return found if edit is None else found + EDIT_BITS


def _kinds(hashes: Hashes, one: Indices, other: Indices) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tells which pairs are on white, and which are plain: bool [m] twice."""
    white = hashes.on_white[one] & hashes.on_white[other]
    return white, np.minimum(hashes.texture[one], hashes.texture[other]) < PLAIN


def alike(hashes: Hashes, one: Indices, other: Indices, edit: int | None = None) -> NDArray[np.bool_]:
    """Tells which pairs agree in texture and in colour: bool [m].

    Neither has more than three times the texture of the other, on white more than twice. Colours that are not known do
    not tell.

    Args:
      hashes: of all pictures.
      one, other: indices of pairs.
      edit: by the hash of which edit they are near; None by those of whole pictures.
    """
    white, plain = _kinds(hashes, one, other)
    texture = hashes.texture[one].astype(np.int64), hashes.texture[other].astype(np.int64)
    found = np.where(white, 2, 3) * np.minimum(*texture) >= np.maximum(*texture)
    known = found & hashes.has_colours[one] & hashes.has_colours[other]
    alone = white & plain
    shaded = ~alone & (white | (plain & hashes.on_one_ground[one] & hashes.on_one_ground[other]))
    if edit == CLIPPED:
        found &= ~(alone & known)
    for rule, which in ((_of_one_colour, alone & found), (_of_one_shade, shaded), (_of_one_hue, ~alone & ~shaded)):
        asked = np.flatnonzero(known & which)
        found[asked] = rule(hashes, one[asked], other[asked], edit)
    return found


def _of_one_colour(hashes: Hashes, one: Indices, other: Indices, edit: int | None) -> NDArray[np.bool_]:
    """Tells which pairs of plain things on white have the same colours, or one is a grey copy of the other: bool [m].

    Colours are 4 levels apart at most in the quadratic mean, and none more than 8; without a margin, where what is in a
    part has moved, 6 and 16. Their chroma (blue and red above the grey level in 16 parts, a vector of 32 numbers)
    differ by a third of the longer at most, or by what rounding does: 12 (d^2 - 64) <= c^2. Edits of drawn things leave
    3.6 and 6, 5.6 and 17, and a quarter.
    """
    limits = _SAME if edit is None else _SAME_CROPPED
    apart = hashes.colours[one].astype(np.int32) - hashes.colours[other]
    turned = hashes.chroma[one].astype(np.int32) - hashes.chroma[other]
    found = _squared(apart) <= 48 * limits["mean"] ** 2
    found &= np.abs(apart).max(axis=1, initial=0) <= limits["most"]
    found &= 12 * (_squared(turned) - 64) <= np.maximum(hashes.chroma_squared[one], hashes.chroma_squared[other])
    return found if edit is not None else found | _grey_copies(hashes, one, other, _TINGED, _GREY_LEVELS)


def _squared(vectors: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors, dtype=np.int64))


def _grey_copies(hashes: Hashes, one: Indices, other: Indices, tinge: int, levels: int) -> NDArray[np.bool_]:
    """Tells which pairs have the same grey levels in all parts, and one has no colour: chroma not longer than
    `tinge`."""
    grey = np.minimum(hashes.chroma_squared[one], hashes.chroma_squared[other]) <= tinge**2
    apart = np.abs(hashes.grey[one] - hashes.grey[other]).max(axis=1, initial=0)
    return np.asarray(grey & (apart <= levels))


def _of_one_hue(hashes: Hashes, one: Indices, other: Indices, edit: int | None) -> NDArray[np.bool_]:
    """Tells which pairs of other pictures agree in colour: bool [m].

    Their chroma points the same way, cosine 0.6 or more, and neither is shorter than 0.6 times the other. What has none
    (a length below 8 levels) may be a grey copy of what has. Of photographs, tiles of them and drawn ones, edits leave
    a cosine of 0.68 and lengths of 0.68 at least, but for two pictures of pale colours.
    """
    a, b = hashes.chroma_squared[one], hashes.chroma_squared[other]
    dot = np.einsum("ij,ij->i", hashes.chroma[one].astype(np.int32), hashes.chroma[other].astype(np.int32))
    dot = dot.astype(np.int64)
    hue = (dot > 0) & (100**2 * dot**2 >= 60**2 * a * b) & (100 * np.minimum(a, b) >= 36 * np.maximum(a, b))
    return np.asarray(hue | (np.minimum(a, b) < _COLOURED**2))


def _of_one_shade(hashes: Hashes, one: Indices, other: Indices, edit: int | None) -> NDArray[np.bool_]:
    """Tells which pairs have one picture with the colours of the other, made lighter or not, or a grey copy of it: bool
    [m].

    Of photographs and drawn ones, 1.3 times as bright, colours are 7.9 levels apart at most from what they are then.
    """
    found = _grey_copies(hashes, one, other, _COLOURED, _LEVELS_APART)
    for dark, light in ((one, other), (other, one)):
        for start in range(0, len(one), _SHADES_AT_A_TIME):
            rest = start + np.flatnonzero(~found[start : start + _SHADES_AT_A_TIME])
            found[rest] = _lighter_copies(hashes.colours[dark[rest]], hashes.colours[light[rest]])
    return found


def _lighter_copies(colours: NDArray[np.uint8], lighter: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tells which pictures are others, made lighter by one of `_GAINS`: bool [m] of uint8 [m, 48] twice."""
    dark, light = (255 - of.reshape(-1, 16, 3).astype(np.int64) for of in (colours, lighter))
    darker = np.maximum(light - dark, 0)
    beyond = np.maximum((255 - light) * _GAIN_OF_1 - (255 - dark) * _GAINS[-1], 0)
    # No gain makes a part darker, or lighter than the largest does.
    possible = _within(darker, 1) & _within(beyond, _GAIN_OF_1)
    found = np.zeros(len(dark), bool)
    left = np.flatnonzero(possible)
    for gain in _GAINS:
        found[left] = _lighter(dark[left], light[left], gain)
        left = left[~found[left]]
        if not len(left):
            break
    return found


def _within(apart: NDArray[np.int64], unit: int) -> NDArray[np.bool_]:
    """Tells which of int64 [m, 16, 3], in parts of a level, are `_LEVELS_APART` at most in the quadratic mean."""
    return np.asarray(np.einsum("ijk,ijk->i", apart, apart) <= 48 * (unit * _LEVELS_APART) ** 2)


def _lighter(dark: NDArray[np.int64], light: NDArray[np.int64], gain: int) -> NDArray[np.bool_]:
    """Tells which pictures are others made lighter by a gain g, within `_LEVELS_APART` in the quadratic mean: bool [m].

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
    return _within(apart, 3 * _GAIN_OF_1)
