"""What a file is that is no tar, by its first bytes: what people give by mistake, and what stands where a shard was."""

from __future__ import annotations

import re

HEAD_BYTES = 1024
"""So many bytes tell what a file is."""

_IMAGE = "image: give the folder that it is in"
_NOT_READ = "which is not read: decompress it, or use zstd"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer: fetch the file itself with git annex get"),
    (b"\xff\xd8\xff", f"a JPEG {_IMAGE}"),
    (b"\x89PNG\r\n", f"a PNG {_IMAGE}"),
    (b"GIF8", f"a GIF {_IMAGE}"),
    (b"II*\0", f"a TIFF {_IMAGE}"),
    (b"MM\0*", f"a TIFF {_IMAGE}"),
    (b"\0\0\0\x0cjP  ", f"a JPEG 2000 {_IMAGE}"),
    (b"PK\x03\x04", "a zip archive: unpack it, and pack it as tar"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it, and pack it as tar"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it, and pack it as tar"),
    (b"!<arch>\n", "an ar archive: unpack it, and pack it as tar"),
    (b"07070", "a cpio archive: unpack it, and pack it as tar"),
    (b"PAR1", "a Parquet file: give it with --input_format parquet or list"),
    (b"ARROW1", "an Arrow file: give tar shards"),
    (b"\x89HDF\r\n", "an HDF5 file: give tar shards"),
    (b"\x93NUMPY", "a NumPy file: give tar shards"),
    (b"SQLite format 3", "an SQLite database: give tar shards"),
    (b"%PDF-", "a PDF: give tar shards"),
    (b"\x1f\x9d", f"compressed with compress (.Z), {_NOT_READ}"),
    (b"LZIP", f"compressed with lzip, {_NOT_READ}"),
    (b"\x89LZO\0", f"compressed with lzop, {_NOT_READ}"),
    (b"\x02\x21\x4c\x18", f"compressed with lz4's legacy format, {_NOT_READ}"),
)
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<!doctype html|<html", re.IGNORECASE), "an HTML page: a server's error or login page?"),
    (re.compile(r"<\?xml|<Error>"), "XML: an error message of a bucket or server?"),
    (re.compile(r"[{\[]"), "JSON: give tar shards"),
)
_CODE = re.compile(r"<Code>(\w{1,40})</Code>")
_SHOWN = 40


def kind_of(head: bytes) -> str | None:
    """What a file that begins like this is, and what to do; None for what we do not know."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return f"a WebP {_IMAGE}"
    if head[4:8] == b"ftyp":
        return f"an AVIF or HEIC {_IMAGE}" if head[8:10] in (b"av", b"he", b"mi") else "a video: give tar shards"
    known = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    return known or _kind_of_text(head)


def _kind_of_text(head: bytes) -> str | None:
    text = head.decode("utf-8-sig", "ignore").strip()
    whole = len(text.encode()) >= len(head.strip()) - 6  # a character may be cut at the end, a mark at the beginning
    if not text or not whole or not all(letter.isprintable() or letter in "\r\n\t" for letter in text):
        return None
    for begins, kind in _TEXTS:
        if begins.match(text):
            code = _CODE.search(text)
            return f"{kind} ({code[1]})" if code else kind
    line = text.splitlines()[0]
    return (
        f'text ("{line[:_SHOWN]}{"..." if len(line) > _SHOWN else ""}"): give tar shards, or @FILE for a list of them'
    )
