"""Gathers what the ledger says of an image, and why an image cannot be used."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image

Encoded: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True)
class ImageFacts:
    """The facts of one image that the ledger has.

    Attributes:
      bytes: encoded size, in bytes.
      sha256: of the encoded bytes, 64 hex digits.
      width, height: in pixels, upright. None, as are the next two, where the image could not be decoded.
      format: found by content, lower-case: "jpeg", "png", "webp", "mpo" (JPEGs in one file), ...
      phash: `perceptual_hash`, 16 hex digits.
      phash256: a finer one, `fine_hash_of_levels`, 64 hex digits.
      texture: how much there is for it to tell pictures apart by, `texture_of_levels`.
      colours: the mean colours of 4 x 4 parts of it, `PictureHashes.colours`, 96 hex digits.
      phash256_cropped, phash256_clipped: `phash256` of it without its margin, and without its lights: what slightly
        cropped and much brighter copies have. The latter is None where it has no lights.
    """

    bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    format: str | None = None
    phash: str | None = None
    phash256: str | None = None
    texture: int | None = None
    colours: str | None = None
    phash256_cropped: str | None = None
    phash256_clipped: str | None = None


class ImageError(Exception):
    """An image that cannot be used. The message is the ledger's reason: short, the same for the same bytes.

    `facts` holds what is known in spite of it (size and sha256 of the bytes), where `decode` raised it.
    """

    def __init__(self, reason: str, facts: ImageFacts | None = None) -> None:
        super().__init__(reason)
        self.facts = facts


def reason_of(error: Exception, messages: Sequence[str] = ()) -> str:
    """Says why an image failed, in words of ours: Pillow's change with its version, and hold memory addresses.

    Args:
      error: what was raised.
      messages: what decoders said meanwhile; the first is told behind a colon.
    """
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory to decode the image"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "image with a part that is over Pillow's pixel limit"
    if _SAYS_UNKNOWN.search(str(error)):
        return "image of a kind that Pillow does not decode"
    said = f": {messages[0]}" if messages else ""
    chain = [error, error.__cause__, error.__context__]
    if any(isinstance(e, (EOFError, struct.error)) or _SAYS_TRUNCATED.search(str(e)) for e in chain) or any(
        _SAYS_TRUNCATED.search(message) for message in messages
    ):
        return f"truncated image{said}"
    return f"damaged image{said}"


# Of Pillow alone, of a TIFF's or a JPEG's bits per pixel: such a picture may be whole.
_SAYS_UNKNOWN = re.compile(r"unknown pixel mode|cannot handle \d+-bit layers")

# Of Pillow ("image file is truncated", "not enough image data"), and of libtiff's codecs; zlib says nothing of what is
# missing, only of what is wrong.
_SAYS_TRUNCATED = re.compile(
    r"truncated|not enough (image )?data|unexpected end of|read error|premature|without end|not terminated|"
    r"invalid (strip|tile) byte count 0|ZLib error$",
    re.IGNORECASE,
)
