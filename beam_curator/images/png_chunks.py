"""PNGs without what is not their picture."""

from __future__ import annotations

from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = frozenset({b"iCCP", b"tEXt", b"zTXt", b"iTXt"})
_XMP = b"XML:com.adobe.xmp\0\0"
_MAX_XMP_BYTES = 1 << 20


def without_text(data: bytes) -> bytes | None:
    """A PNG without its texts and colour profile, but for XMP, which may say what turns it upright.

    Pillow refuses a picture for a text or a profile that is damaged, or larger than 1 MB.

    Returns:
      None if it is no PNG, or has none of them.
    """
    if not data.startswith(_SIGNATURE):
        return None
    kept, position = [_SIGNATURE], len(_SIGNATURE)
    for kind, start, end in _chunks(data):
        if not _is_text(kind, data[start + 8 : start + 8 + len(_XMP)], end - start):
            kept.append(data[start:end])
        position = end
    kept.append(data[position:])
    shorter = b"".join(kept)
    return shorter if len(shorter) < len(data) else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk that ends within the data."""
    start = len(_SIGNATURE)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            return
        yield data[start + 4 : start + 8], start, end
        start = end


def _is_text(kind: bytes, beginning: bytes, size: int) -> bool:
    return kind in _TEXT and not (kind == b"iTXt" and beginning == _XMP and size <= _MAX_XMP_BYTES)
