"""Tells by its first bytes what a file is that is no tar: what people give by mistake, and what stands where a shard
was."""

from __future__ import annotations

import re

HEAD_BYTES = 1024
"""So many bytes tell what a file is."""

_IMAGE = "image: give the folder that it is in"
_INSTEAD = "give tars, Parquet files, a folder or a list of images"
_UNPACK = "unpack it, and give the folder"
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
    (b"PK\x03\x04", f"a zip archive: {_UNPACK}"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"a RAR archive: {_UNPACK}"),
    (b"!<arch>\n", f"an ar archive: {_UNPACK}"),
    (b"07070", f"a cpio archive: {_UNPACK}"),
    (b"PAR1", "a Parquet file: give it with --input_format parquet or list"),
    (b"ARROW1", "an Arrow file: write it as Parquet"),
    (b"\x89HDF\r\n", f"an HDF5 file: {_INSTEAD}"),
    (b"\x93NUMPY", f"a NumPy file: {_INSTEAD}"),
    (b"SQLite format 3", f"an SQLite database: {_INSTEAD}"),
    (b"%PDF-", f"a PDF: {_INSTEAD}"),
    (b"\x1f\x9d", f"compressed with compress (.Z), {_NOT_READ}"),
    (b"LZIP", f"compressed with lzip, {_NOT_READ}"),
    (b"\x89LZO\0", f"compressed with lzop, {_NOT_READ}"),
    (b"\x02\x21\x4c\x18", f"compressed with lz4's legacy format, {_NOT_READ}"),
)
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<!doctype html|<html", re.IGNORECASE), "an HTML page: a server's error or login page?"),
    (re.compile(r"<\?xml|<Error>"), "XML: an error message of a bucket or server?"),
    (re.compile(r"[{\[]"), "JSON: a list of images has an object on each line, and is called .jsonl"),
)
_CODE = re.compile(r"<Code>(\w{1,40})</Code>")
_SHOWN = 40


def kind_of(head: bytes) -> str | None:
    """Says what a file is that begins like this, and what to do; None for what we do not know."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return f"a WebP {_IMAGE}"
    if head[4:8] == b"ftyp":
        return f"an AVIF or HEIC {_IMAGE}" if head[8:10] in (b"av", b"he", b"mi") else f"a video: {_INSTEAD}"
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
    shown = f"{line[:_SHOWN]}{'...' if len(line) > _SHOWN else ''}"
    return f'text ("{shown}"): a list of images is called .txt, .csv, .tsv or .jsonl; one of shards is given as @FILE'
