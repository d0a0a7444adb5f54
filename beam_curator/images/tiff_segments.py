"""Whether a TIFF holds as much data as its picture takes: what neither Pillow nor libtiff asks.

A TIFF's data stands in segments, strips or tiles. Pillow reads plain ones by their offsets alone, and leaves black what
has none. libtiff gives memory as it was for those of a JPEG that is smaller than its segment, and grey for its missing
end. Of other compressions it says itself that there is too little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import TiffImagePlugin

from beam_curator.images.facts import ImageError
from beam_curator.images.jpeg_markers import end_of, size_of

_PLAIN, _OLD_JPEG, _JPEG = 1, 6, 7
_SEPARATE_PLANES = 2
_YCBCR = 6


def check_segments(image: TiffImagePlugin.TiffImageFile, data: bytes) -> None:
    """Raises ImageError for a TIFF whose picture is not all there."""
    layout = _Layout.of(image)
    if layout is None:
        return
    if layout.compression == _PLAIN and layout.subsampling != (1, 1):
        raise ImageError("TIFF with subsampled colours without compression")
    offsets, sizes = layout.offsets, layout.sizes
    if len(offsets) < layout.per_plane * layout.planes:
        raise ImageError("truncated image")
    for index, (plane, width, height) in enumerate(layout.segments()):
        start, size = offsets[index], sizes[index] if index < len(sizes) else 0
        if not _is_whole(layout, data, start, size, plane, width, height):
            raise ImageError("truncated image")


def _is_whole(layout: _Layout, data: bytes, start: int, size: int, plane: int, width: int, height: int) -> bool:
    """Tells whether a segment holds width x height pixels of a plane, as far as this is told from outside. No size is
    0."""
    if layout.compression == _PLAIN:
        needed = height * layout.row_bytes(plane, width)
        return start + needed <= len(data) and (not size or size >= needed)
    if layout.compression not in (_JPEG, _OLD_JPEG) or not size:
        return True
    if start + size > len(data):
        return False
    segment = data[start : start + size]
    if layout.compression == _OLD_JPEG and not segment.startswith(b"\xff\xd8"):  # bare scans; their header is elsewhere
        return True
    if plane:
        width, height = (-(-side // by) for side, by in zip((width, height), layout.subsampling, strict=True))
    real = size_of(segment)
    return real is None or (real[0] >= width and real[1] >= height and end_of(segment) is not None)


@dataclass(frozen=True)
class _Layout:
    """The layout of a TIFF's picture, which is cut into segments.

    Attributes:
      width, height: of the picture, in pixels.
      segment_width, segment_height: of a strip or tile.
      is_tiled: whether segments are tiles, which are whole even where they reach over the picture.
      bits: of each sample of a pixel.
      planes: 1, or one for each sample.
      subsampling: of the second and third sample of YCbCr, (across, down).
      offsets, sizes: of segments, in bytes; sizes may be missing.
    """

    width: int
    height: int
    segment_width: int
    segment_height: int
    is_tiled: bool
    compression: int
    bits: tuple[int, ...]
    planes: int
    subsampling: tuple[int, int]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, image: TiffImagePlugin.TiffImageFile) -> _Layout | None:
        """Reads the layout from a TIFF's tags; None where there are no segments, or numbers that are none."""
        tags = image.tag_v2
        width, height = tags.get(TiffImagePlugin.IMAGEWIDTH, 0), tags.get(TiffImagePlugin.IMAGELENGTH, 0)
        is_tiled = TiffImagePlugin.STRIPOFFSETS not in tags
        if is_tiled:
            kinds = (TiffImagePlugin.TILEOFFSETS, TiffImagePlugin.TILEBYTECOUNTS)
            sides = tags.get(TiffImagePlugin.TILEWIDTH, 0), tags.get(TiffImagePlugin.TILELENGTH, 0)
        else:
            kinds = (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS)
            sides = width, min(tags.get(TiffImagePlugin.ROWSPERSTRIP, height) or height, height)
        offsets, sizes = (_numbers(tags.get(kind)) for kind in kinds)
        bits, samples = (
            _numbers(tags.get(TiffImagePlugin.BITSPERSAMPLE, 1)),
            tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1),
        )
        if not offsets or not bits or not all(isinstance(n, int) and n > 0 for n in (width, height, *sides, samples)):
            return None
        return cls(
            width,
            height,
            *sides,
            is_tiled,
            tags.get(TiffImagePlugin.COMPRESSION, _PLAIN),
            bits * samples if len(bits) == 1 else bits[:samples],
            samples if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE_PLANES else 1,
            _subsampling_of(tags),
            offsets,
            sizes,
        )

    @property
    def per_plane(self) -> int:
        """Segments of one plane."""
        return -(-self.width // self.segment_width) * -(-self.height // self.segment_height)

    def segments(self) -> Iterator[tuple[int, int, int]]:
        """(plane, width, height) of each segment, in pixels, in their order."""
        for plane in range(self.planes):
            for y in range(0, self.height, self.segment_height):
                rows = self.segment_height if self.is_tiled else min(self.segment_height, self.height - y)
                for _ in range(0, self.width, self.segment_width):
                    yield plane, self.segment_width, rows

    def row_bytes(self, plane: int, width: int) -> int:
        """Counts the bytes of a segment's row, without compression."""
        return -(-width * (sum(self.bits) if self.planes == 1 else self.bits[plane]) // 8)


def _numbers(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return values if all(isinstance(n, int) for n in values) else ()


def _subsampling_of(tags: TiffImagePlugin.ImageFileDirectory_v2) -> tuple[int, int]:
    """(1, 1) unless it is said: the standard's default is another, which no writer means that leaves it out."""
    values = _numbers(tags.get(TiffImagePlugin.YCBCRSUBSAMPLING, (1, 1)))
    is_ycbcr = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _YCBCR
    return (values[0], values[1]) if is_ycbcr and len(values) == 2 and all(values) else (1, 1)
