"""Encoded bytes -> upright pixels and facts; the only user of Pillow.

What a picture becomes, whatever file it came in (`decode`), in this order:

* The format is found by content, among an allow-list of Pillow's decoders; none of them runs another program.
* Of an animation or a multi-page file the first picture is taken; a truncated picture is refused, not padded.
* The EXIF (or XMP, or TIFF) orientation is applied; an EXIF block that cannot be read counts as "upright".
* 16-bit grey is reduced to its high byte, which is how Pillow itself reads 16-bit colour. 32-bit integers
  within 0..255 are taken as they are, within 0..65535 by their high byte; floats within 0..1 are multiplied
  by 255, within 0..255 rounded; all others are stretched from their minimum and maximum to 0..255.
  (open_clip's transform clips every one of these at 255, and turns such pictures white or black.)
* Transparency of any kind is laid over white. (open_clip's transform shows the colour that was hidden.)
* Other modes (grey, palette, 1-bit, CMYK, YCbCr, LAB) are kept: `preprocess` resizes them as they are and
  then converts to RGB, in the order of open_clip's transform, so that embeddings agree with everyone
  else's. For palette and 1-bit pictures this means nearest-neighbour resizing, as there.
* Embedded colour profiles are not applied, as there.
"""

import functools
import hashlib
import io
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, IcoImagePlugin, Image, TiffImagePlugin

Encoded: TypeAlias = bytes | bytearray | memoryview
_Opener: TypeAlias = Callable[[IO[bytes], str | bytes], Image.Image]
_Test: TypeAlias = Callable[[bytes], bool | str]

MAX_IMAGE_PIXELS = 178_956_970
"""Default limit on width x height: where Pillow itself starts to call a picture a decompression bomb."""

# Pixels that all threads together decode at a time: an image of 179 million pixels takes 0.7 to 2.7 GB while it is
# decoded and converted, whatever the number of cores.
_PIXELS_AT_A_TIME = 1 << 28

# A TIFF's tile may be larger than its picture, which is what the pixel limit looks at; real ones have 2**8 to 2**18.
_MAX_TILE_PIXELS = 1 << 24

# As Pillow calls them; see `_check_tiff`.
_FAX = frozenset({"tiff_ccitt", "group3", "group4", "tiff_raw_16"})

# In the order they are tried. MPO (JPEGs in one file) is opened as JPEG. TGA is last: it has no magic number.
_EXTENSIONS_BY_FORMAT = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "mpo"),
    "PNG": ("png", "apng"),
    "WEBP": ("webp",),
    "GIF": ("gif",),
    "TIFF": ("tif", "tiff"),
    "BMP": ("bmp",),
    "AVIF": ("avif", "avifs"),
    "JPEG2000": ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
    "ICO": ("ico",),
    "PPM": ("ppm", "pgm", "pbm", "pnm", "pfm"),
    "PCX": ("pcx",),
    "DDS": ("dds",),
    "SGI": ("sgi",),
    "DIB": ("dib",),
    "TGA": ("tga",),
}

IMAGE_EXTENSIONS: frozenset[str] = frozenset(e for group in _EXTENSIONS_BY_FORMAT.values() for e in group)
"""Extensions (lower-case, no dot) of the formats that `decode` reads (AVIF, if Pillow was built with it)."""

_UPRIGHT_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SWAPS_SIDES = frozenset(_UPRIGHT_BY_ORIENTATION[orientation] for orientation in (5, 6, 7, 8))

# Above this length in units of the crop's side, a resized picture is never made whole: 1 x 65000 pixels
# would become 224 x 14560000.
_LONGEST_RESIZED_SIDE = 32


@dataclass(frozen=True)
class ImageFacts:
    """What the ledger says of one image.

    Fields:
      bytes: encoded size, in bytes.
      sha256: of the encoded bytes, 64 hex digits.
      width, height: in pixels, upright. None, as are the next two, where the image could not be decoded.
      format: found by content, lower-case: "jpeg", "png", "webp", "mpo" (JPEGs in one file), ...
      phash: `perceptual_hash`, 16 hex digits.
    """

    bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    format: str | None = None
    phash: str | None = None


class ImageError(Exception):
    """An image that cannot be used. The message is the ledger's reason: short, the same for the same bytes.

    `facts` holds what is known in spite of it (size and sha256 of the bytes), where `decode` raised it.
    """

    def __init__(self, reason: str, facts: ImageFacts | None = None) -> None:
        super().__init__(reason)
        self.facts = facts


def decode(
    data: Encoded, max_pixels: int = MAX_IMAGE_PIXELS, draft_side: int | None = None
) -> tuple[Image.Image, ImageFacts]:
    """Decodes one image into the picture that `preprocess` takes, converted as the module's docstring says.

    Safe to call from many threads, and leaves Pillow's global settings alone.

    Args:
      data: the encoded image.
      max_pixels: limit on width x height, checked on the header, before memory for pixels is taken. (Bitmaps
        in an icon are decoded first; Pillow's own limit, 179 million pixels, holds there.)
      draft_side: JPEGs are decoded at the smallest of 1/8, 1/4, 1/2 and 1 of their size that leaves no side
        shorter than this. Faster; the picture, and so its perceptual hash, is only nearly the same.

    Returns:
      The upright picture (mode L, RGB, P, 1, CMYK, YCbCr, LAB, RGBX; no transparency) and its facts, all of
      them known.

    Raises:
      ImageError: whatever is wrong with the bytes; nothing else is raised because of them.
    """
    facts = ImageFacts(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    try:
        image = _open(bytes(data))
        format_name = (image.format or "").lower()
        _check_size(image.size, max_pixels)
        _check_tiff(image)
        whole_size = image.size
        if draft_side is not None:
            image.draft(None, (draft_side, draft_side))  # does nothing for formats other than JPEG
        drafted = image.size != whole_size
        with _BUDGET.taken(image.width * image.height):
            image.load()
            transposition = _transposition(image)
            if transposition is not None:
                image = image.transpose(transposition)
            image = _opaque(_eight_bit(image))
            phash = perceptual_hash(image)
    except Exception as error:  # Pillow raises nearly anything on hostile bytes
        raise ImageError(_reason(error), facts) from error
    width, height = image.size
    if drafted:
        width, height = reversed(whole_size) if transposition in _SWAPS_SIDES else whole_size
    return image, replace(facts, width=width, height=height, format=format_name, phash=phash)


@dataclass(frozen=True)
class PlainJpeg:
    """A JPEG that any decoder reads alike: grey or RGB, and written to its end.

    Fields:
      width, height: as stored, in pixels.
      upright: what turns it upright, or None.
      facts: all but the perceptual hash; width and height upright.
    """

    width: int
    height: int
    upright: Image.Transpose | None
    facts: ImageFacts


def plain_jpeg(data: Encoded, max_pixels: int) -> PlainJpeg | None:
    """Looks at an image's header; None for what only `decode` should judge: all else than a `PlainJpeg`."""
    encoded = bytes(data)
    if not encoded.startswith(b"\xff\xd8") or b"\xff\xd9" not in encoded[-64:]:
        return None
    try:
        image = _open(encoded)
        _check_size(image.size, max_pixels)
    except Exception:
        return None
    width, height = image.size
    if (
        image.format != "JPEG"
        or image.mode not in ("L", "RGB")
        or max(width, height) > _LONGEST_RESIZED_SIDE * min(width, height)
    ):
        return None
    upright = _transposition(image)
    sides = (height, width) if upright in _SWAPS_SIDES else (width, height)
    facts = ImageFacts(len(encoded), hashlib.sha256(encoded).hexdigest(), *sides, "jpeg")
    return PlainJpeg(width, height, upright, facts)


def preprocess(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resizes (bicubic, shorter side to `size`), crops the centre, converts to RGB: a CLIP model's input.

    Bit-equal to `open_clip.image_transform(size, is_train=False)` before its division by 255. Only where
    the longer side is over 32 times the shorter is the crop resized directly, as the whole would take
    gigabytes; rounding may then differ by two levels.

    Args:
      image: as `decode` returns it.
      size: side of the square crop, in pixels.

    Returns:
      uint8 [size, size, 3], RGB.

    Raises:
      ImageError: the picture cannot be resized or converted (out of memory, for one).
    """
    width, height = image.size
    resized_width, resized_height, left, top = resized_and_cropped(width, height, size)
    try:
        if max(resized_width, resized_height) > _LONGEST_RESIZED_SIDE * size:
            x_scale, y_scale = width / resized_width, height / resized_height
            box = (
                left * x_scale,
                top * y_scale,
                min(width, (left + size) * x_scale),
                min(height, (top + size) * y_scale),
            )
            image = image.resize((size, size), Image.Resampling.BICUBIC, box)
        else:
            if image.size != (resized_width, resized_height):
                image = image.resize((resized_width, resized_height), Image.Resampling.BICUBIC)
            image = image.crop((left, top, left + size, top + size))
        return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise ImageError(_reason(error)) from error


def resized_and_cropped(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """What `preprocess` resizes a picture to, and where its crop begins: (width, height, left, top), in pixels."""
    resized_width, resized_height = (
        (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    )
    return resized_width, resized_height, round((resized_width - size) / 2), round((resized_height - size) / 2)


def perceptual_hash(image: Image.Image) -> str:
    """64-bit DCT hash: near copies of a picture (resized, re-encoded, recoloured) differ in few bits.

    The picture is reduced to 32 x 32 grey levels g, and for u, v in 0..7

      F(u, v) = sum over y, x of g(y, x) cos(pi u (2y + 1) / 64) cos(pi v (2x + 1) / 64).

    Bit 8u + v, counted from the most significant, says F(u, v) > median of F. This is the hash of C. Zauner,
    "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2, in the form of
    `imagehash.phash`. Large pictures are reduced by a box filter first (Pillow's `reducing_gap`), which takes a
    third of the time; of photographs of 0.6 million pixels, 12 % then differ from `imagehash.phash`, by 2 bits.

    Cosines are integers in units of 2**-20, so all sums are exact, the hash is the same on every machine,
    and pictures of one flat colour (F = 0 but for u = v = 0) do not depend on float noise.

    Returns:
      16 hex digits.
    """
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    reduced = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return hash_of_levels(np.asarray(reduced))


def hash_of_levels(grey: NDArray[np.uint8]) -> str:
    """`perceptual_hash` of a picture that is reduced already: uint8 [32, 32]."""
    frequencies = (_COSINES @ grey.astype(np.int64) @ _COSINES.T).ravel()
    low, high = np.sort(frequencies)[31:33]
    bits = 2 * frequencies > low + high
    return np.packbits(bits).tobytes().hex()


_COSINES: NDArray[np.int64] = np.rint(
    np.cos(np.pi / 64 * np.outer(np.arange(8), 2 * np.arange(32) + 1)) * 2**20
).astype(np.int64)


@functools.cache
def _decoders() -> list[tuple[str, _Opener, _Test | None]]:
    """(format, opener, test of the first bytes) of each allowed format that this Pillow has."""
    Image.init()
    openers: dict[str, tuple[_Opener, _Test | None]] = {
        name: Image.OPEN[name] for name in _EXTENSIONS_BY_FORMAT if name in Image.OPEN
    }
    openers["ICO"] = (_open_icon, openers["ICO"][1])
    return [(name, opener, recognises) for name, (opener, recognises) in openers.items()]


def _open_icon(stream: IO[bytes], _filename: str | bytes) -> Image.Image:
    """The largest picture of an icon. Pillow's own opener decodes it at once, whatever its size."""
    image = IcoImagePlugin.IcoFile(stream).frame(0)
    image.format = "ICO"
    return image


def _open(data: bytes) -> Image.Image:
    """Reads the header: the picture, its pixels not yet decoded.

    This is `Image.open(formats=...)` without its pixel limit, which is a global of Pillow's, sometimes only
    warns, and does not tell the picture's width and height.
    """
    if not data:
        raise ImageError("empty image")
    stream, prefix = io.BytesIO(data), data[:16]
    first_error: Exception | None = None
    for name, opener, recognises in _decoders():
        # A format without a magic number takes only what no other claims.
        if not (_is_recognised(prefix, recognises) if recognises else first_error is None):
            continue
        try:
            stream.seek(0)
            image = opener(stream, "")
            image.format = image.format or name
            return image
        except Exception as error:
            if recognises:
                first_error = first_error or error
    raise first_error or ImageError("not an image that can be decoded")


def _is_recognised(prefix: bytes, recognises: _Test) -> bool:
    try:
        answer = recognises(prefix)
    except Exception:  # the file is shorter than the magic number
        return False
    return bool(answer) and not isinstance(answer, str)  # a string says that the codec is missing


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError("image without pixels")
    if width * height > max_pixels:
        raise ImageError(f"image of {width}x{height} pixels is over the limit of {max_pixels} pixels")


def _check_tiff(image: Image.Image) -> None:
    """Refuses what libtiff cannot be trusted with.

    It decodes whole tiles, whatever part of them is the picture. And of damaged fax data it says that all is well, and
    gives whatever was in the memory before: other pixels every time.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    if image.info.get("compression") in _FAX:
        raise ImageError("TIFF with fax compression")
    width, height = (image.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
    if width * height > max(_MAX_TILE_PIXELS, image.width * image.height):
        raise ImageError(f"image with a tile of {width}x{height} pixels")


class _PixelBudget:
    """Lets threads in as long as their images together have no more pixels than this; a larger one goes in alone."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._taken = pixels, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Waits until there is room, and takes it for the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


_BUDGET = _PixelBudget(_PIXELS_AT_A_TIME)


def _reason(error: Exception) -> str:
    """Why an image failed, in words of ours: Pillow's change with its version, and hold memory addresses."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory to decode the image"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "image with a part that is over Pillow's pixel limit"
    chain = [error, error.__cause__, error.__context__]
    if any(isinstance(e, (EOFError, struct.error)) or "truncated" in str(e).lower() for e in chain):
        return "truncated image"
    return "damaged image"


def _transposition(image: Image.Image) -> Image.Transpose | None:
    """What turns the picture upright. `ImageOps.exif_transpose` would also copy upright ones, and rewrite EXIF."""
    try:
        return _UPRIGHT_BY_ORIENTATION.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return None


def _eight_bit(image: Image.Image) -> Image.Image:
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
    """Integers or floats [height, width] as uint8 levels, by the ranges in the module's docstring."""
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


def _opaque(image: Image.Image) -> Image.Image:
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
