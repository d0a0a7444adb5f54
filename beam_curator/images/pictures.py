"""Encoded bytes -> upright pixels and facts.

What a picture becomes, whatever file it came in (`decode`), in this order:

* The format is found by content, among an allow-list of Pillow's decoders; none of them runs another program.
* Of an animation or a multi-page file the first picture is taken; a truncated picture is refused, not padded.
* The EXIF (or XMP, or TIFF) orientation is applied; an EXIF block that cannot be read counts as "upright".
* 16-bit grey is reduced to its high byte, which is how Pillow itself reads 16-bit colour. Where a TIFF says that its
  levels take fewer bits (BitsPerSample, MaxSampleValue), to the highest eight of these; where it says that 0 is white,
  it is. 32-bit integers
  within 0..255 are taken as they are, within 0..65535 by their high byte; floats within 0..1 are multiplied
  by 255, within 0..255 rounded; all others are stretched from their minimum and maximum to 0..255.
  (open_clip's transform clips every one of these at 255, and turns such pictures white or black.)
* Transparency of any kind is laid over white. (open_clip's transform shows the colour that was hidden.)
* Other modes (grey, palette, 1-bit, CMYK, YCbCr, LAB) are kept: `preprocess` resizes them as they are and
  then converts to RGB, in the order of open_clip's transform, so that embeddings agree with everyone
  else's. For palette and 1-bit pictures this means nearest-neighbour resizing, as there.
* Embedded colour profiles are not applied, as there.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from PIL import Image

from beam_curator.images.completeness import load_whole
from beam_curator.images.conversion import SWAPS_SIDES, GreyScale, eight_bit, opaque, transposition_of
from beam_curator.images.decoder_messages import collected
from beam_curator.images.facts import Encoded, ImageError, ImageFacts, reason_of
from beam_curator.images.fast_jpeg import jpeg_levels, picture_of
from beam_curator.images.formats import check_size, check_tiff, open_image
from beam_curator.images.hashing import picture_hashes
from beam_curator.images.png_chunks import without_text

MAX_IMAGE_PIXELS = 178_956_970
"""Default limit on width x height: where Pillow itself starts to call a picture a decompression bomb."""

# Pixels that all threads together decode at a time: an image of 179 million pixels takes 0.7 to 2.7 GB while it is
# decoded and converted, whatever the number of cores.
_PIXELS_AT_A_TIME = 1 << 28


def decode(
    data: Encoded, max_pixels: int = MAX_IMAGE_PIXELS, draft_side: int | None = None, fast: bool = False
) -> tuple[Image.Image, ImageFacts]:
    """Decodes one image into the picture that `preprocess` takes, converted as this module's docstring says.

    Safe to call from many threads, and leaves Pillow's global settings alone.

    Args:
      data: the encoded image.
      max_pixels: limit on width x height, checked on the header, before memory for pixels is taken. (Bitmaps
        in an icon are decoded first; Pillow's own limit, 179 million pixels, holds there.)
      draft_side: JPEGs are decoded at the smallest of 1/8, 1/4, 1/2 and 1 of their size that leaves no side
        shorter than this. Faster; the picture, and so its perceptual hashes, is only nearly the same.
      fast: whether plain colour JPEGs are decoded by `fast_jpeg`: the same picture and facts.

    Returns:
      The upright picture (mode L, RGB, P, 1, CMYK, YCbCr, LAB, RGBX; no transparency) and its facts, all of
      them known.

    Raises:
      ImageError: whatever is wrong with the bytes; nothing else is raised because of them.
    """
    encoded = bytes(data)
    facts = ImageFacts(bytes=len(data), sha256=hashlib.sha256(encoded).hexdigest())
    with collected() as messages:
        try:
            return _decoded_in_spite_of_text(encoded, facts, max_pixels, draft_side, fast)
        except Exception as error:  # Pillow raises nearly anything on hostile bytes
            raise ImageError(reason_of(error, messages), facts) from error


def _decoded_in_spite_of_text(
    data: bytes, facts: ImageFacts, max_pixels: int, draft_side: int | None, fast: bool
) -> tuple[Image.Image, ImageFacts]:
    """`_decoded`; a PNG that fails is tried once more without its texts and colour profile."""
    try:
        return _decoded(data, facts, max_pixels, draft_side, fast)
    except ImageError:
        raise
    except Exception:
        shorter = without_text(data)
        if shorter is None:
            raise
        return _decoded(shorter, facts, max_pixels, draft_side)


def _decoded(
    data: bytes, facts: ImageFacts, max_pixels: int, draft_side: int | None, fast: bool = False
) -> tuple[Image.Image, ImageFacts]:
    """Decodes as `decode` does; raises ImageError, or whatever Pillow does."""

    def open_as_drafted(encoded: bytes) -> Image.Image:
        opened = open_image(encoded)
        if draft_side is not None:
            opened.draft(None, (draft_side, draft_side))  # does nothing for formats other than JPEG
        return opened

    image = open_image(data)
    format_name = (image.format or "").lower()
    check_size(image.size, max_pixels)
    check_tiff(image, data)
    whole_size, scale = image.size, GreyScale.of(image)
    if draft_side is not None:
        image.draft(None, (draft_side, draft_side))
    drafted = image.size != whole_size
    with _BUDGET.taken(image.width * image.height):
        opened, levels = image, jpeg_levels(image, data) if fast and not drafted else None
        if levels is None:
            load_whole(image, data, open_as_drafted)
        else:
            image = picture_of(levels)
        transposition = transposition_of(opened)
        if transposition is not None:
            image = image.transpose(transposition)
        image = opaque(eight_bit(image, scale))
        hashes = picture_hashes(image)
    width, height = image.size
    if drafted:
        width, height = reversed(whole_size) if transposition in SWAPS_SIDES else whole_size
    return image, replace(facts, width=width, height=height, format=format_name, **vars(hashes))


class PixelBudget:
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


_BUDGET = PixelBudget(_PIXELS_AT_A_TIME)
