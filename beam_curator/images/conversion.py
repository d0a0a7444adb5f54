"""What becomes of orientation, high bit depth and transparency: `pictures` says how."""

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

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
    """What turns the picture upright. `ImageOps.exif_transpose` would also copy upright ones, and rewrite EXIF."""
    try:
        return _UPRIGHT_BY_ORIENTATION.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return None


def eight_bit(image: Image.Image) -> Image.Image:
    """A picture of high bit depth as mode L (LA with a transparent level); all others as they are."""
    if image.mode != "I" and image.mode != "F" and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image)
    grey = Image.fromarray(_eight_bit_levels(values, is_16_bit=image.mode.startswith("I;16")))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))))


def _eight_bit_levels(values: NDArray[np.generic], is_16_bit: bool) -> NDArray[np.uint8]:
    """Integers or floats [height, width] as uint8 levels, by the ranges that `pictures` says."""
    if is_16_bit:
        return (values.astype(np.uint16) >> 8).astype(np.uint8)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    is_integer = values.dtype.kind in "iu"
    if is_integer and low >= 0 and 255 < high <= 65535:
        return (values.astype(np.int64) >> 8).astype(np.uint8)
    if low >= 0 and high <= 255:
        origin, span = 0.0, 255.0 if is_integer or high > 1 else 1.0
    else:
        origin, span = low, (high - low) or 1.0
    levels = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.rint((levels - origin) / span * 255).astype(np.uint8)


def opaque(image: Image.Image) -> Image.Image:
    """The picture over a white ground, as RGB, if it has transparency of any kind; else as it is."""
    if not image.has_transparency_data:
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
