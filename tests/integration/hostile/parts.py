"""Makes hostile shards, and says what is to become of each."""

import dataclasses
import gzip
import io
import tarfile

import numpy as np
from PIL import Image

from tests.tars import header

END = bytes(1024)
BLOCK = tarfile.BLOCKSIZE
KEPT = None
"""What a sample's reason is where nothing is wrong with it."""
TRUNCATED_MEMBER = 'truncated shard: member "jpg" is cut'


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One shard.

    Attributes:
      data: its bytes.
      rows: (key, how the reason begins) of each sample that is to be in the ledger, in order; KEPT for a kept one.
      error: a part of the reason for which it is recorded as broken, or None where it is read to its end.
      hole_bytes: how many zeros stand after these bytes, as a hole in the file.
      after: the bytes after the hole.
      unlike_webdataset: why the package itself cannot be the reference here, if so.
    """

    data: bytes
    rows: tuple = ()
    error: str | None = None
    unlike_webdataset: str | None = None
    hole_bytes: int = 0
    after: bytes = b""

    def write(self, path):
        with path.open("wb") as file:
            file.write(self.data)
            file.seek(self.hole_bytes, io.SEEK_CUR)
            file.write(self.after)
            file.truncate()


def encoded(image, format_name, **options):
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def picture(seed=0, size=(40, 30), mode="RGB"):
    levels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).convert(mode)


def jpeg(seed=0):
    return encoded(picture(seed), "JPEG")


PADDED = BLOCK + 2 * BLOCK  # what a member of `whole` takes


def whole(*keys):
    """A tar without its end: for each key a JPEG of exactly two blocks, and nothing else."""
    return b"".join(member(f"{key}.jpg", jpeg(index).ljust(2 * BLOCK, b"\0")) for index, key in enumerate(keys))


def member(name, data=b"", type=tarfile.REGTYPE, size=None, format=tarfile.GNU_FORMAT):
    """A header, whatever size it claims, and data that is padded to blocks."""
    return header(name, len(data) if size is None else size, type, format) + padded(data)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def good_tar(*keys):
    return whole(*keys) + END


def kept(*keys):
    return tuple((key, KEPT) for key in keys)


TWO = whole("a", "b")


def gzipped_zeros(megabytes):
    """Zeros as gzip packs them, of streams that repeat."""
    return gzip.compress(bytes(10 << 20), mtime=0) * (megabytes // 10)
