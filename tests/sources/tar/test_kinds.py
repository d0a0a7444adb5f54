"""What stands where a tar should: told from real bytes of each kind."""

import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from beam_curator.sources.tar.kinds import kind_of


def image(format):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format)
    return file.getvalue()


def parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"url": ["http://a"]}), sink)
    return sink.getvalue().to_pybytes()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", b"x")
    return file.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
DENIED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>no</Message></Error>'


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        *((image(format), f"a {name} image: give the folder") for format, name in [("JPEG", "JPEG"), ("PNG", "PNG")]),
        *((image(format), f"a {name} image") for format, name in [("GIF", "GIF"), ("TIFF", "TIFF"), ("WEBP", "WebP")]),
        (image("AVIF"), "an AVIF or HEIC image"),
        (image("JPEG2000"), "a JPEG 2000 image"),
        (parquet(), "a Parquet file"),
        (zipped(), "a zip archive"),
        (POINTER, "a Git LFS pointer: fetch the file itself with git lfs pull"),
        (DENIED, "XML: an error message of a bucket or server? (AccessDenied)"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html><html>", "an HTML page: a server's error or login page?"),
        (b'{"url": "http://a"}\n', "JSON: a list of images has an object on each line, and is called .jsonl"),
        ("naïve a\traw/00000.tar\n".encode(), 'text ("naïve a\traw/00000.tar"): a list of images is called .txt'),
        (b"\x1f\x9d\x90abc", "compressed with compress (.Z), which is not read"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_a_file_is_told_for_what_it_is(head, kind):
    assert kind_of(head).startswith(kind)


@pytest.mark.parametrize("head", [b"", bytes(512), b"\x00\x01\x02 noise \xff", "café".encode("latin-1") + b"\x01"])
def test_what_is_not_known_is_not_guessed(head):
    assert kind_of(head) is None


def test_a_character_that_the_head_cuts_is_text_still():
    assert kind_of(("x" + "日" * 2000).encode()[:1024]).startswith("text (")
