"""Hashes of what a picture shows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_REDUCED_SIDE = 96
"""The sides of a picture are not reduced below this before it is made 32 x 32 or 64 x 64, in pixels."""


@dataclass(frozen=True)
class PictureHashes:
    """Hashes by which one tells whether two pictures show the same.

    Attributes:
      phash: `perceptual_hash`, 16 hex digits.
      phash256: `fine_hash_of_levels` of its 64 x 64 grey levels, 64 hex digits.
      texture: `texture_of_levels` of these.
      colours: red, green and blue, the means of 4 x 4 parts of the picture, row by row; 96 hex digits. Both hashes are
        of grey levels, and of shape alone: a shirt in two colours has the same.
      phash256_cropped: `phash256` of the picture without `_MARGIN` of its width and height at each side.
      phash256_clipped: `phash256` with grey levels above `_LIGHTS` taken for that; None where none is above it.
    """

    phash: str
    phash256: str
    texture: int
    colours: str
    phash256_cropped: str
    phash256_clipped: str | None


_MARGIN = 0.01
"""The part that a slight crop takes away: a copy cropped by 2 %, half of it at each side, has `phash256_cropped`
itself."""

_LIGHTS = 196
"""255 / 1.3: of a copy made 1.3 times as bright, whose lights are clipped, `phash256` is near `phash256_clipped`. The
hash does not change where all levels are multiplied by a number."""


def picture_hashes(image: Image.Image) -> PictureHashes:
    """Computes all hashes of a picture, from one reduction of it."""
    reduced, box = _reduced(image)
    grey = reduced.convert("L")
    fine = _levels(grey, 64, box)
    width, height = box[2:]
    within = (_MARGIN * width, _MARGIN * height, (1 - _MARGIN) * width, (1 - _MARGIN) * height)
    whole, cropped, clipped = _fine_hashes([fine, _levels(grey, 64, within), np.minimum(fine, _LIGHTS)])
    return PictureHashes(
        hash_of_levels(_levels(grey, 32, box)),
        whole,
        texture_of_levels(fine),
        reduced.resize((4, 4), Image.Resampling.BOX, box).convert("RGB").tobytes().hex(),
        cropped,
        clipped if fine.max() > _LIGHTS else None,
    )


_Box = tuple[float, float, float, float]


def _levels(grey: Image.Image, side: int, box: _Box) -> NDArray[np.uint8]:
    """A part of a grey picture, made a square: uint8 [side, side]."""
    resized = grey.resize((side, side), Image.Resampling.LANCZOS, box)
    return np.frombuffer(resized.tobytes(), np.uint8).reshape(side, side)


def perceptual_hash(image: Image.Image) -> str:
    """64-bit DCT hash: near copies of a picture (resized, re-encoded, recoloured) differ in few bits.

    The picture is reduced to 32 x 32 grey levels g, and for u, v in 0..7

      F(u, v) = sum over y, x of g(y, x) cos(pi u (2y + 1) / 64) cos(pi v (2x + 1) / 64).

    Bit 8u + v, counted from the most significant, says F(u, v) > median of F. This is the hash of C. Zauner,
    "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2, in the form of
    `imagehash.phash`. Large pictures are reduced by a box filter first, to 96 pixels a side or more, and turned to
    grey then, which takes a fifth of the time; of photographs of 0.6 million pixels, 15 % then differ from
    `imagehash.phash`, nearly all by 2 bits.

    Cosines are integers in units of 2**-20, so all sums are exact, the hash is the same on every machine,
    and pictures of one flat colour (F = 0 but for u = v = 0) do not depend on float noise.

    Returns:
      16 hex digits.
    """
    reduced, box = _reduced(image)
    return hash_of_levels(_levels(reduced.convert("L"), 32, box))


def _reduced(image: Image.Image) -> tuple[Image.Image, _Box]:
    """The picture, L or RGB, its sides divided by whole numbers, and what part of that it is: the last pixels of a side
    may be averages of fewer."""
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    x, y = (max(1, side // _REDUCED_SIDE) for side in image.size)
    reduced = image if x == y == 1 else image.reduce((x, y))
    return reduced, (0, 0, image.width / x, image.height / y)


def hash_of_levels(grey: NDArray[np.uint8]) -> str:
    """`perceptual_hash` of a picture that is reduced already: uint8 [32, 32]."""
    frequencies = (_COSINES @ grey.astype(np.int64) @ _COSINES.T).ravel()
    low, high = np.sort(frequencies)[31:33]
    bits = 2 * frequencies > low + high
    return np.packbits(bits).tobytes().hex()


_COSINES: NDArray[np.int64] = np.rint(
    np.cos(np.pi / 64 * np.outer(np.arange(8), 2 * np.arange(32) + 1)) * 2**20
).astype(np.int64)


def fine_hash_of_levels(grey: NDArray[np.uint8]) -> str:
    """256-bit DCT hash, which decides where 64 bits only propose.

    Of 64 x 64 grey levels g, for u, v in 1..16, F(u, v) = sum over y, x of g(y, x) cos(pi u (2y + 1) / 128)
    cos(pi v (2x + 1) / 128). Bit 16 (u - 1) + v - 1, counted from the most significant, says F(u, v) > median of F.
    What is constant along a row or a column has no part in it.

    Cosines are integers in units of 2**-14: all sums are whole and below 2**53, so that float64 has them exactly,
    whatever the order in which it adds; of one flat colour all F are 0, and so all bits.

    Args:
      grey: uint8 [64, 64].

    Returns:
      64 hex digits.
    """
    return _fine_hashes([grey])[0]


def _fine_hashes(greys: list[NDArray[np.uint8]]) -> list[str]:
    """`fine_hash_of_levels` of each picture, uint8 [64, 64]: of so few numbers, numpy's calls cost more than sums."""
    frequencies = (_FINE_COSINES @ np.array(greys, np.float64) @ _FINE_COSINES.T).reshape(-1, 256)
    ordered = np.sort(frequencies)
    bits = 2 * frequencies > ordered[:, 127:128] + ordered[:, 128:129]
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]


_FINE_COSINES: NDArray[np.float64] = np.rint(
    np.cos(np.pi / 128 * np.outer(np.arange(1, 17), 2 * np.arange(64) + 1)) * 2**14
)


def texture_of_levels(grey: NDArray[np.uint8]) -> int:
    """Measures how much there is in a picture by which a hash can tell it from others; 0 of one flat colour.

    Of each two neighbours, in a row or in a column, the difference is taken in hundredths of black to white, rounded
    down, so that faint noise is nothing; then the sum of all, in units of 90. It is the quality of PDQ, which ends at
    100, without that end.

    Args:
      grey: uint8 [64, 64].
    """
    levels = grey.astype(np.int16)
    down, across = levels[1:] - levels[:-1], levels[:, 1:] - levels[:, :-1]
    return int(_HUNDREDTHS[np.abs(down)].sum() + _HUNDREDTHS[np.abs(across)].sum()) // 90


_HUNDREDTHS: NDArray[np.int64] = np.arange(256) * 100 // 255
