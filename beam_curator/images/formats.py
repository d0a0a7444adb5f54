"""Opens images of the formats that are read: found by content, among decoders of Pillow's that run no other program;
headers alone."""

import functools
import io
from collections.abc import Callable
from typing import IO, TypeAlias

from PIL import IcoImagePlugin, Image, TiffImagePlugin

from beam_curator.images.facts import ImageError
from beam_curator.images.tiff_segments import check_segments

_Opener: TypeAlias = Callable[[IO[bytes], str | bytes], Image.Image]
_Test: TypeAlias = Callable[[bytes], bool | str]

# A TIFF's tile may be larger than its picture, which is what the pixel limit looks at; real ones have 2**8 to 2**18.
_MAX_TILE_PIXELS = 1 << 24

# As Pillow calls them; see `check_tiff`.
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


def open_image(data: bytes) -> Image.Image:
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


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raises ImageError for a picture of no pixels, or of more than `max_pixels`."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError("image without pixels")
    if width * height > max_pixels:
        raise ImageError(f"image of {width}x{height} pixels is over the limit of {max_pixels} pixels")


def check_tiff(image: Image.Image, data: bytes) -> None:
    """Refuses what libtiff cannot be trusted with, and a TIFF whose picture is not all there.

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
    check_segments(image, data)
