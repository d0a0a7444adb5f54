"""Chooses the extension for a file of an image, by its first bytes."""

from __future__ import annotations

from beam_curator.samples import Buffer

HEAD_BYTES = 16

_MAGIC = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF8", "gif"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
    (b"BM", "bmp"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "j2k"),
    (b"\0\0\1\0", "ico"),
    (b"DDS ", "dds"),
)


def extension_of(data: Buffer) -> str | None:
    """The usual extension of the image that begins like this, or None for what no magic number tells."""
    head = bytes(data[:HEAD_BYTES])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "ppm"
    return next((extension for magic, extension in _MAGIC if head.startswith(magic)), None)
