"""Whether a decoder wrote the whole picture. Many of Pillow's end where their data ends, and say that all is well.

What no decoder wrote still is what was there before: so marks are put there before.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from beam_curator.images.facts import ImageError
from beam_curator.images.jpeg_markers import end_of
from beam_curator.images.jpeg_passes import lacks_passes

_Mark: TypeAlias = int | float | tuple[int, ...]

# Their decoders give a picture whole, or not at all.
_WHOLE = frozenset({"WEBP", "AVIF"})

# (two marks that few pictures hold, how many pixels at a row's end have to have one), by the mode of the picture.
_MARKS: dict[str, tuple[tuple[_Mark, _Mark], int]] = {
    "1": ((0, 255), 1),
    "L": ((91, 167), 4),
    "P": ((251, 253), 4),
    "LA": (((91, 3), (167, 5)), 2),
    "PA": (((251, 3), (253, 5)), 2),
    "I": ((-1515870813, -1431655769), 1),
    "F": ((-1.5 * 2.0**99, -1.25 * 2.0**98), 1),
}
_MARKS_OF_16_BITS = ((0x5A5A, 0xA7A7), 4)  # alike in either order of bytes
_MARKS_OF_COLOURS = (((91, 167, 3, 249), (5, 77, 233, 251)), 1)


def load_whole(image: Image.Image, data: bytes, open_again: Callable[[bytes], Image.Image]) -> None:
    """Decodes the pixels of a picture that was opened, and sees to it that all of them were written.

    Decoders write row after row, so the ends of rows tell. They are marked before; where a mark is left, the picture
    is decoded once more over the other mark, as it may hold the first itself. JPEG 2000 comes in tiles: all of it is
    marked. libjpeg writes grey where its data ends: such a picture is decoded once more with other data behind its own;
    and a progressive one that ends between its passes is blurred, as the passes themselves tell.

    Args:
      image: as `open_again` gave it.
      data: the encoded image.
      open_again: opens encoded images.

    Raises:
      ImageError: "truncated image". All else is Pillow's.
    """
    if image.format in ("JPEG", "MPO"):
        if image.info.get("progressive") and lacks_passes(data):
            raise ImageError("truncated image")
        image.load()
        if _ends_grey(image) and _changes_with_what_follows(image, data, open_again):
            raise ImageError("truncated image")
    elif image.format in _WHOLE or not isinstance(image, ImageFile.ImageFile) or not image.tile:
        image.load()
    else:
        left = _load_over_marks(image, 0)
        if left.any() and (left & _load_over_marks(open_again(data), 1)).any():
            raise ImageError("truncated image")


def _load_over_marks(image: Image.Image, which: int) -> NDArray[np.bool_]:
    """Loads a picture over one of its mode's two marks.

    Returns:
      Where the mark is left: bool [rows]; of JPEG 2000 bool [rows, columns].
    """
    assert isinstance(image, ImageFile.ImageFile)
    prepare, end, is_tiled = image.load_prepare, image.load_end, image.format == "JPEG2000"
    left = np.zeros(1, np.bool_)
    mark: _Mark = 0
    box = (0, 0, 0, 0)

    def mark_it() -> None:
        nonlocal mark, box
        prepare()
        marks, run = _marks_of(image.im.mode)
        mark = marks[which]
        # Only a GIF's picture may be smaller than its canvas.
        x0, y0, x1, y1 = (image.format == "GIF" and image.tile[0][1]) or (0, 0, *image.im.size)
        box = (x0 if is_tiled else max(x0, x1 - run), y0, x1, y1)
        image.im.paste(mark, box)

    def look_for_it() -> None:
        nonlocal left
        marked = _levels(image, Image.core.fill(image.im.mode, (1, 1), mark))
        same = _levels(image, image.im.crop(box)) == marked[0, 0]
        same = same.all(axis=2) if same.ndim == 3 else same
        left = same if is_tiled else same.all(axis=1)
        end()

    image.load_prepare, image.load_end = mark_it, look_for_it  # type: ignore[method-assign]
    try:
        image.load()
    finally:
        del image.load_prepare, image.load_end
    return left


def _marks_of(mode: str) -> tuple[tuple[_Mark, _Mark], int]:
    return _MARKS.get(mode) or (_MARKS_OF_16_BITS if mode.startswith("I;16") else _MARKS_OF_COLOURS)


def _levels(image: Image.Image, pixels: Image.core.ImagingCore) -> NDArray[np.generic]:
    """Pixels as Pillow's core has them: [rows, columns] or [rows, columns, channels]."""
    return np.asarray(image._new(pixels))


_GREY = bytes((127, 128))
"""The levels that a block without data becomes; 127 in an inverted CMYK."""


def _ends_grey(image: Image.Image) -> bool:
    """Tells whether the last pixels of a JPEG are what libjpeg makes of no data."""
    width, height = image.size
    return not image.crop((max(0, width - 8), height - 1, width, height)).tobytes().strip(_GREY)


_OTHER_DATA = bytes(range(1, 255)) * 16


def _changes_with_what_follows(image: Image.Image, data: bytes, open_again: Callable[[bytes], Image.Image]) -> bool:
    """Tells whether a JPEG is another picture if more data comes before its end: whether it asks for more than it
    has."""
    end = end_of(data)
    if end is None:
        return False
    other = open_again(data[:end] + _OTHER_DATA + data[end:])
    other.load()
    return zlib.crc32(other.tobytes()) != zlib.crc32(image.tobytes())
