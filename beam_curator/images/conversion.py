"""Turns pictures upright, and reduces high bit depth and transparency: `pictures` says how."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

_UPRIGHT_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

SWAPS_SIDES = frozenset(_UPRIGHT_BY_ORIENTATION[orientation] for orientation in (5, 6, 7, 8))


def transposition_of(image: Image.Image) -> Image.Transpose | None:
    """Finds what turns the picture upright. `ImageOps.exif_transpose` would also copy upright ones, and rewrite
    EXIF."""
    try:
        return _UPRIGHT_BY_ORIENTATION.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return None


@dataclass(frozen=True)
class GreyScale:
    """The scale of a file's levels of grey, which Pillow's mode does not tell.

    Attributes:
      bits: how many bits of 16 a level takes, 8 to 16.
      is_inverted: whether 0 is white, which Pillow minds for up to 8 bits alone.
    """

    bits: int = 16
    is_inverted: bool = False

    @classmethod
    def of(cls, image: Image.Image) -> "GreyScale":
        """Reads the scale of a picture as it was opened. Only a TIFF tells one: in other formats levels fill their 16
        bits."""
        if not isinstance(image, TiffImagePlugin.TiffImageFile) or not _has_high_bit_depth(image):
            return cls()
        tags = image.tag_v2
        bits = [*_integers(tags.get(TiffImagePlugin.BITSPERSAMPLE)), 16][0]
        greatest = [*_integers(tags.get(_MAX_SAMPLE_VALUE)), 0][0]
        if 0xFF < greatest < 1 << bits:
            bits = greatest.bit_length()
        return cls(min(max(bits, 8), 16), tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO)


_MAX_SAMPLE_VALUE = 281
_WHITE_IS_ZERO = 0


def _integers(value: object) -> list[int]:
    return [n for n in (value if isinstance(value, tuple) else (value,)) if isinstance(n, int)]


def _has_high_bit_depth(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def eight_bit(image: Image.Image, scale: GreyScale = GreyScale()) -> Image.Image:
    """A picture of high bit depth as mode L (LA with a transparent level); all others as they are."""
    if not _has_high_bit_depth(image):
        return image
    values = np.asarray(image)
    levels = _levels_of_16_bits(values, scale.bits) if image.mode.startswith("I;16") else _levels_by_range(values)
    grey = Image.fromarray(255 - levels if scale.is_inverted else levels)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))))


def _levels_of_16_bits(values: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    """The high byte of levels [height, width] of so many bits; of all 16, should one of them be larger than it may."""
    levels = values.astype(np.uint16)
    if bits < 16 and levels.size and int(levels.max()) >> bits:
        bits = 16
    return (levels >> (bits - 8)).astype(np.uint8)


def _levels_by_range(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Integers or floats [height, width] as uint8 levels, by the ranges that `pictures` says."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    is_integer = values.dtype.kind in "iu"
    if is_integer and low >= 0 and 255 < high <= 65535:
        return (values.astype(np.int64) >> 8).astype(np.uint8)
    if low >= 0 and high <= 255:
        origin, span = 0.0, 255.0 if is_integer or high > 1 else 1.0
    else:
        origin, span = low, (high - low) or 1.0
    with np.errstate(invalid="ignore"):  # numpy warns of some kinds of NaN
        levels = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.rint((levels - origin) / span * 255).astype(np.uint8)


def opaque(image: Image.Image) -> Image.Image:
    """The picture over a white ground, as RGB, if it has transparency of any kind; else as it is."""
    if not _has_transparency(image):
        return image
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # The key of a 16-bit PNG keeps its 16 bits, where Pillow has reduced the pixels to their high bytes.
        image.info["transparency"] = tuple(level >> 8 for level in key)
    rgba = image.convert("LA") if image.mode == "La" else image
    rgba = rgba if rgba.mode == "RGBA" else rgba.convert("RGBA")  # which copies even what is RGBA
    ground = Image.new("RGB", rgba.size, "white")
    ground.paste(rgba, mask=rgba.getchannel("A"))
    return ground


def _has_transparency(image: Image.Image) -> bool:
    """Pillow's property takes it that a palette picture has a palette. A PNG may lack it, and is grey then."""
    return "transparency" in image.info if image.mode == "P" and not image.palette else image.has_transparency_data
