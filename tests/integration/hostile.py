"""Shards that attack or puzzle whoever reads them, and what is to become of each, for the tests of hostile data."""

import bz2
import dataclasses
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import zipfile
import zlib

import numpy as np
from PIL import ExifTags, Image

from tests.tars import Entry, header, tar_bytes

END = bytes(1024)
BLOCK = tarfile.BLOCKSIZE
KEPT = None
"""What a sample's reason is where nothing is wrong with it."""


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


def record(keyword, value):
    """One PAX record, which begins with its own length."""
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def pax(*records, type=tarfile.XHDTYPE):
    body = b"".join(record(*one) for one in records)
    return member("pax", body, type)


def checked(block):
    """A header with the checksum that it should have."""
    total = sum(block[:148]) + 256 + sum(block[156:BLOCK])
    return block[:148] + b"%06o\0 " % total + block[156:]


def with_size_field(name, field):
    block = header(name)
    return checked(block[:124] + field.ljust(12, b"\0") + block[136:])


def base_256(number):
    return b"\x80" + number.to_bytes(11, "big") if number >= 0 else (256**12 + number).to_bytes(12, "big")


def gnu_sparse(name, real_size):
    block = bytearray(header(name, 0, tarfile.GNUTYPE_SPARSE))
    block[386:410] = b"%011o\0%011o\0" % (0, 0)
    block[483:495] = b"%011o\0" % real_size
    return checked(bytes(block))


def pax_sparse(name, map_text):
    """A member in GNU's sparse format 1.0: the map stands before the data."""
    records = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name.encode()))
    return pax(*records, (b"GNU.sparse.realsize", b"99999")) + member("GNUSparseFile.0/x", padded(map_text) + b"data")


def good_tar(*keys):
    return whole(*keys) + END


def kept(*keys):
    return tuple((key, KEPT) for key in keys)


TWO = whole("a", "b")
TRUNCATED_MEMBER = 'truncated shard: member "jpg" is cut'
NO_IMAGE = "no image in the sample"


def truncated():
    cut = 2 * PADDED
    three = whole("a", "b", "c")
    return {
        "empty": Hostile(b"", (), "empty file"),
        "one-byte": Hostile(b"\0", (), None, "it is shorter than a block"),
        "cut-in-first-header": Hostile(three[:300], (), "truncated inside a header"),
        "cut-in-header": Hostile(three[: cut + 300], kept("a", "b"), "truncated inside a header"),
        "cut-in-member": Hostile(
            three[: cut + BLOCK + 700], (*kept("a", "b"), ("c", TRUNCATED_MEMBER)), "truncated: a member ends after"
        ),
        "cut-after-header": Hostile(
            three[: cut + BLOCK], (*kept("a", "b"), ("c", TRUNCATED_MEMBER)), "truncated: a member ends after"
        ),
        "cut-in-padding": Hostile(
            TWO + member("c.jpg", jpeg(2))[:-1],
            kept("a", "b", "c"),
            "truncated: a member ends after the end of the file",
        ),
        "cut-between-members": Hostile(three[:cut], kept("a", "b"), "no end-of-archive block"),
        "no-end-of-archive": Hostile(three, kept("a", "b", "c"), "no end-of-archive block"),
        "half-an-end-of-archive": Hostile(three + bytes(BLOCK), kept("a", "b", "c")),
        "cut-in-extension-header": Hostile(
            TWO + pax((b"path", b"c" * 3000))[:2000], kept("a", "b"), "truncated inside an extension header"
        ),
        "hole-of-zeros": Hostile(TWO + bytes(4 * BLOCK) + good_tar("c"), kept("a", "b"), "after the end-of-archive"),
        "two-archives": Hostile(good_tar("a", "b") + good_tar("c"), kept("a", "b"), "after the end-of-archive"),
    }


def not_tars():
    noise = random.Random(0).randbytes(20_000)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.jpg", jpeg())
    return {
        "noise": Hostile(noise, (), "not a tar header"),
        "png": Hostile(encoded(picture(), "PNG"), (), "not a tar header"),
        "jpeg": Hostile(jpeg(), (), "not a tar header"),
        "zip": Hostile(archive.getvalue(), (), "not a tar header"),
        "html": Hostile(b"<html>Access denied</html>", (), "truncated inside a header"),
        "text": Hostile(b"a.jpg,b.jpg\n" * 900, (), "not a tar header"),
        "ones": Hostile(b"\xff" * 5000, (), "not a tar header"),
        "zeros": Hostile(bytes(20_000)),
        "noise-after-samples": Hostile(TWO + noise, kept("a", "b"), "invalid header"),
        "text-after-samples": Hostile(TWO + b"<html>" * 900, kept("a", "b"), "invalid header"),
    }


def headers():
    checksum = header("b.jpg").replace(b"b.jpg", b"x.jpg")

    def between(bad):
        return TWO + bad + good_tar("c")

    broken = {
        "wrong-checksum": (checksum, "bad checksum"),
        "checksum-of-letters": (header("b.jpg")[:148] + b"notoctal" + header("b.jpg")[156:], "invalid header"),
        "size-negative": (with_size_field("x.jpg", base_256(-512)), "impossible size (-512 bytes)"),
        "size-least": (with_size_field("x.jpg", base_256(-(1 << 60))), "impossible size"),
        "size-2-60": (with_size_field("x.jpg", base_256(1 << 60)), f"impossible size ({1 << 60} bytes)"),
        "size-most": (with_size_field("x.jpg", b"\x80" + b"\xff" * 11), "impossible size"),
        "size-of-letters": (with_size_field("x.jpg", b"one hundred"), "invalid header"),
        "size-with-a-sign": (with_size_field("x.jpg", b"-1000"), "impossible size"),
        "pax-size-negative": (pax((b"size", b"-4096")) + header("x.jpg"), "impossible size (-4096 bytes)"),
        "pax-size-2-60": (pax((b"size", str(1 << 60).encode())) + header("x.jpg"), "impossible size"),
        "pax-header-of-gigabytes": (member("x", type=tarfile.XHDTYPE, size=5 << 30), "header of more than 1048576"),
        "pax-header-of-2-60": (member("x", type=tarfile.XHDTYPE, size=1 << 60), "header of more than 1048576 bytes"),
        "pax-header-negative": (member("x", type=tarfile.XHDTYPE, size=-512), "negative size"),
        "long-name-of-gigabytes": (member("x", type=tarfile.GNUTYPE_LONGNAME, size=3 << 30), "header of more than"),
        "long-link-negative": (member("x", type=tarfile.GNUTYPE_LONGLINK, size=-1024), "negative size"),
        "pax-header-of-two-megabytes": (
            pax((b"comment", b"x" * ((1 << 20) - 30) + good_tar("smuggled"))) + header("x.jpg"),
            "header of more than 1048576 bytes",
        ),
        "pax-keyword-that-repeats-itself": (member("x", b"2 " * 200_000 + b"=", tarfile.XHDTYPE), "invalid PAX record"),
        "pax-digits": (pax((b"comment", b"1" * 500_000)) + header("x.jpg"), "number of more than 1000 digits"),
        "pax-record-without-end": (member("x", b"99 path=x.jpg\n", tarfile.XHDTYPE), "invalid PAX record"),
        "pax-length-of-digits": (member("x", b"9" * 5000 + b" path=x\n", tarfile.XHDTYPE), "invalid PAX record"),
        "pax-global-name": (pax((b"path", b"all.jpg"), type=tarfile.XGLTYPE), 'global header that sets "path"'),
        "pax-global-size": (pax((b"size", b"10"), type=tarfile.XGLTYPE), 'global header that sets "size"'),
        "extension-headers-without-end": (
            member("x", b"y", tarfile.GNUTYPE_LONGNAME) * 1200,
            "more than 16 extension headers",
        ),
        "sparse-map-without-end": (pax_sparse("x.jpg", b"999999\n" + b"0\n" * 700_000), "header of more than 1048576"),
        "sparse-map-of-letters": (pax_sparse("x.jpg", b"many\n"), "invalid header"),
        "sparse-without-end": (
            checked(gnu_sparse("x.jpg", 100)[:482] + b"\1" + gnu_sparse("x.jpg", 100)[483:]) + b"\1" * 3000,
            "invalid header",
        ),
    }
    unlike = "older releases of Python, under it, take hours or all memory, or read what is not a header"
    ours_alone = {
        "pax-header-of-two-megabytes",
        "pax-keyword-that-repeats-itself",
        "pax-digits",
        "pax-record-without-end",
        "pax-length-of-digits",
        "pax-global-name",
        "pax-global-size",
        "extension-headers-without-end",
        "sparse-map-without-end",
    }
    return {
        name: Hostile(between(bad), kept("a", "b"), reason, unlike if name in ours_alone else None)
        for name, (bad, reason) in broken.items()
    } | {
        "size-beyond-the-end": Hostile(
            TWO + member("c.jpg", b"short", size=2 << 30),
            (*kept("a", "b"), ("c", TRUNCATED_MEMBER)),
            "truncated: a member",
        ),
        "more-than-a-gigabyte": Hostile(
            TWO + header("c.jpg", (1 << 30) + BLOCK),
            (
                *kept("a", "b"),
                ("c", f"sample of {(1 << 30) + 2 * BLOCK} bytes is over the limit of {1 << 30}"),
                ("d", KEPT),
            ),
            unlike_webdataset="it takes the memory",
            hole_bytes=(1 << 30) + BLOCK,
            after=good_tar("d"),
        ),
        "size-of-a-gigabyte-and-more": Hostile(
            TWO + member("c.jpg", b"short", size=(1 << 30) + 1), (*kept("a", "b"), ("c", TRUNCATED_MEMBER)), "truncated"
        ),
    }


def members():
    long = "l" * 180
    deep = "d/" * 200 + "k"
    inner = tar_bytes([("inner.jpg", jpeg(7)), ("inner.txt", b"not a caption")])
    types = {
        "hard-link": tarfile.LNKTYPE,
        "symbolic-link": tarfile.SYMTYPE,
        "character-device": tarfile.CHRTYPE,
        "block-device": tarfile.BLKTYPE,
        "fifo": tarfile.FIFOTYPE,
        "directory": tarfile.DIRTYPE,
    }
    good = ("z.jpg", jpeg(9))
    shards = {
        name: Hostile(
            tar_bytes([("a.jpg", jpeg()), Entry("../../b.jpg", type=type), ("a.txt", b"c"), good]), kept("a", "z")
        )
        for name, type in types.items()
    }
    shards |= {
        "unknown-type": Hostile(TWO + member("x.jpg", b"?", b"Z") + good_tar("c"), kept("a", "b", "c")),
        "gnu-sparse": Hostile(
            TWO + gnu_sparse("s.jpg", 5000) + good_tar("c"),
            (*kept("a", "b"), ("s", 'sparse member "jpg"'), ("c", KEPT)),
            unlike_webdataset="it reads a sparse member as something else than what was packed",
        ),
        "gnu-sparse-of-2-60": Hostile(
            TWO + gnu_sparse("s.jpg", 1 << 32) + good_tar("c"),
            (*kept("a", "b"), ("s", 'sparse member "jpg"'), ("c", KEPT)),
            unlike_webdataset="it would make gigabytes of zeros",
        ),
        "pax-sparse": Hostile(
            TWO + pax_sparse("s.jpg", b"1\n0\n4\n") + good_tar("c"),
            (*kept("a", "b"), ("s", 'sparse member "jpg"'), ("c", KEPT)),
            unlike_webdataset="it reads a sparse member as something else than what was packed",
        ),
        "pax-long-names": Hostile(
            tar_bytes([(f"{long}.jpg", jpeg()), (f"{long}.txt", b"c"), (f"{deep}.jpg", jpeg(1)), good]),
            kept(long, deep, "z"),
        ),
        "gnu-long-names": Hostile(
            tar_bytes([(f"{long}.jpg", jpeg()), (f"{deep}.jpg", jpeg(1)), good], tarfile.GNU_FORMAT),
            kept(long, deep, "z"),
        ),
        "name-of-64-kilobytes": Hostile(tar_bytes([("n" * 65_536 + ".jpg", jpeg()), good]), kept("n" * 65_536, "z")),
        "extension-of-64-kilobytes": Hostile(
            tar_bytes([("a.jpg", jpeg()), ("a." + "e" * 65_536, b"x"), good]), kept("a", "z")
        ),
        "names-not-utf8": Hostile(
            tar_bytes(
                [("caf\udce9.jpg", jpeg()), ("\udcff/\udcfe.jpg", jpeg(1)), ("z.\udcff", b"x"), good],
                tarfile.GNU_FORMAT,
            ),
            kept("caf\\xe9", "\\xff/\\xfe", "z"),
        ),
        "pax-names-not-utf8": Hostile(tar_bytes([("caf\udce9.jpg", jpeg()), good]), kept("caf\\xe9", "z")),
        "absolute-names": Hostile(
            tar_bytes([("/etc/passwd.jpg", jpeg()), ("/tmp/hostile-escaped.jpg", jpeg(1)), good]),
            kept("/etc/passwd", "/tmp/hostile-escaped", "z"),
        ),
        "names-that-climb": Hostile(
            tar_bytes(
                [("../../../escaped.jpg", jpeg()), ("a/../../../escaped.txt", b"x"), ("a/../../../escaped.jpg", jpeg())]
            ),
            kept("../../../escaped", "a/../../../escaped"),
        ),
        "extensions-that-climb": Hostile(tar_bytes([("a.jpg", jpeg()), ("a.x\\..\\..\\escaped", b"x")]), kept("a")),
        "newline-in-names": Hostile(
            tar_bytes([("a\nb.jpg", jpeg()), ("a\nb.t\nxt", b"x"), ("\n.jpg", jpeg(1)), good]),
            kept("a\nb", "\n", "z"),
            unlike_webdataset="its dot matches no newline in a folder's name",
        ),
        "nul-in-names": Hostile(
            pax((b"path", b"a\0b.jpg"))
            + member("x", jpeg())
            + pax((b"path", b"c.j\0pg"))
            + member("x", jpeg())
            + good_tar("z"),
            (("a\0b", KEPT), ("c", "member with a reserved name"), ("z", KEPT)),
        ),
        "escape-codes-in-names": Hostile(
            tar_bytes([("\x1b[2Ja.jpg", jpeg()), ("b.\x1b]0;owned\x07", b"x"), ("b.\x1b]0;owned\x07", b"x"), good]),
            (("\x1b[2Ja", KEPT), ("b", "repeated member"), ("z", KEPT)),
        ),
        "odd-dots": Hostile(
            tar_bytes(
                [
                    ("...", b"x"),
                    ("..jpg", jpeg()),
                    (".jpg", jpeg()),
                    ("d/.jpg", jpeg()),
                    ("a.", b"x"),
                    ("a.jpg", jpeg()),
                ]
            ),
            kept("a"),
        ),
        "reserved-names": Hostile(
            tar_bytes([("a.jpg", jpeg()), ("a.__key__", b"x"), ("b.__url__", b"x"), ("__c__/d.jpg", b"x"), good]),
            (("a", "member with a reserved name"), ("b", "member with a reserved name"), ("z", KEPT)),
        ),
        "our-own-names": Hostile(
            tar_bytes(
                [
                    ("a.jpg", jpeg()),
                    ("a.clip.npy", b"mine"),
                    ("a.input.clip.npy", b"mine too"),
                    ("a.curation.json", b"{}"),
                ]
            ),
            kept("a"),
        ),
        "repeated-member": Hostile(
            tar_bytes([("a.jpg", jpeg()), ("a.jpg", jpeg(1)), ("b.jpg", jpeg()), ("b.JPG", jpeg(1)), good]),
            (("a", 'repeated member "jpg"'), ("b", 'repeated member "jpg"'), ("z", KEPT)),
        ),
        "repeated-key": Hostile(
            tar_bytes(
                [("a.jpg", jpeg()), ("z.jpg", jpeg(1)), ("a.jpg", jpeg(2)), ("x/a.jpg", jpeg(3)), ("y/a.jpg", jpeg(4))]
            ),
            kept("a", "z", "a", "x/a", "y/a"),
        ),
        "repeated-key-in-another-shard": Hostile(tar_bytes([("a.jpg", jpeg()), ("z.jpg", jpeg(1))]), kept("a", "z")),
        "interleaved": Hostile(
            tar_bytes([("a.jpg", jpeg()), ("b.jpg", jpeg(1)), ("a.txt", b"a"), ("b.txt", b"b")]),
            (("a", KEPT), ("b", KEPT), ("a", NO_IMAGE), ("b", NO_IMAGE)),
        ),
        "tar-inside": Hostile(
            tar_bytes([("a.jpg", jpeg()), ("a.tar", inner), ("b.tar", inner), ("c.jpg", inner), good]),
            (("a", KEPT), ("b", NO_IMAGE), ("c", "not an image that can be decoded"), ("z", KEPT)),
        ),
        "tar-inside-at-a-block": Hostile(
            tar_bytes([("a.jpg", jpeg()), ("a.bin", whole("inner") * 3), good]), kept("a", "z")
        ),
        "global-header": Hostile(
            pax((b"comment", b"0" * 40), type=tarfile.XGLTYPE)
            + TWO
            + pax((b"comment", b"1" * 40), type=tarfile.XGLTYPE)
            + good_tar("c"),
            kept("a", "b", "c"),
        ),
        "ten-thousand-reasons": Hostile(
            tar_bytes([(f"k{i}.e{i}", b"") for i in range(500) for _ in range(2)] + [good], tarfile.USTAR_FORMAT),
            (*((f"k{i}", f'repeated member "e{i}"') for i in range(500)), ("z", KEPT)),
        ),
    }
    return shards


def compressed():
    rng = random.Random(3)
    many = tar_bytes([(f"{i:02d}.jpg", jpeg(i)) for i in range(40)] + [("noise.bin", rng.randbytes(60_000))])
    packed = gzip.compress(many, mtime=0)
    tar = good_tar("a", "b")
    xz = bytearray(lzma.compress(tar))
    claims = lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    wrong_crc = bytearray(gzip.compress(tar, mtime=0))
    wrong_crc[-8] ^= 1
    zeros = gzipped_zeros(200)
    big_member = gzip.compress(TWO + header("c.jpg", 60 << 20)) + gzipped_zeros(60)
    big_header = gzip.compress(TWO + header("x", 20 << 20, tarfile.XHDTYPE) + b"999 comment=") + gzipped_zeros(20)
    xz[len(xz) // 2] ^= 0xFF
    return {
        "cut.gz": Hostile(packed[: len(packed) // 2], ..., "damaged gzip stream"),
        "wrong-crc.gz": Hostile(bytes(wrong_crc), kept("a", "b"), "CRC check failed"),
        "noise-after.gz": Hostile(gzip.compress(tar, mtime=0) + b"garbage", kept("a", "b"), "damaged gzip stream"),
        "noise-after.bz2": Hostile(bz2.compress(tar) + b"garbage", kept("a", "b"), "damaged bzip2 stream"),
        "noise-after.xz": Hostile(lzma.compress(tar) + b"garbage", kept("a", "b"), "damaged xz stream"),
        "padded.xz": Hostile(lzma.compress(tar) + bytes(8), kept("a", "b")),
        "two-streams.bz2": Hostile(bz2.compress(tar[:4000]) + bz2.compress(tar[4000:]), kept("a", "b")),
        "damaged.xz": Hostile(bytes(xz), ..., "damaged xz stream"),
        "claims-a-gigabyte.xz": Hostile(claims, (), "Memory usage limit exceeded", "it takes what the header claims"),
        "not-a-tar-inside.gz": Hostile(gzip.compress(b"text" * 9000), (), "not a tar header"),
        "empty-inside.gz": Hostile(gzip.compress(b""), (), "empty file"),
        "gzip-inside.gz": Hostile(gzip.compress(gzip.compress(tar)), (), "not a tar header"),
        "zeros-bomb.gz": Hostile(zeros),
        "zeros-bomb-after-samples.gz": Hostile(gzip.compress(tar) + gzipped_zeros(50), kept("a", "b")),
        "member-bomb.gz": Hostile(
            big_member + gzip.compress(good_tar("d")),
            (*kept("a", "b"), ("c", "not an image that can be decoded"), ("d", KEPT)),
        ),
        "header-bomb.gz": Hostile(big_header, kept("a", "b"), "header of more than", "it takes the memory"),
        "headers-bomb.gz": Hostile(
            gzip.compress(TWO + header("folder", 0, tarfile.DIRTYPE) * 20_000 + good_tar("c")), kept(*"abc")
        ),
    }


def png(width, height, bits=8, colour=2, body=b"", chunks=()):
    """A PNG written by hand: whatever it claims, with whatever inside."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def deflated_zeros(megabytes):
    """Zeros as deflate packs them, a thousand to one, made of one piece that repeats."""
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = zlib.adler32(bytes(megabytes << 20))
    return b"\x78\xda" + piece * megabytes + b"\x03\0" + struct.pack(">I", checksum)


def gzipped_zeros(megabytes):
    """Zeros as gzip packs them, of streams that repeat."""
    return gzip.compress(bytes(10 << 20), mtime=0) * (megabytes // 10)


def tiff_with_tile(side):
    """A picture of one pixel in a tile of side x side."""
    data = zlib.compress(bytes(1 << 16))
    tags = (
        (256, 1),
        (257, 1),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, side),
        (323, side),
        (324, 8),
        (325, len(data)),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def images():
    """(extension, bytes, how the reason begins) of images by what is odd about them."""
    rgb, limit = picture(), "is over the limit of 178956970 pixels"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    small = rgb.quantize(16)
    loop = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0"  # its EXIF IFD is itself
    icc_bomb = png(1, 1, 8, 0, zlib.compress(b"\0\0"), [(b"iCCP", b"p\0\0" + deflated_zeros(50))])
    gif_bomb = b"GIF89a" + struct.pack("<HH", 65535, 65535) + encoded(small, "GIF")[10:]
    fax = encoded(rgb.convert("1"), "TIFF", compression="group4")
    thirty = f"image of 30000x30000 pixels {limit}"
    noise = np.random.default_rng(1).integers(0, 65535, (30, 40))
    good = {
        "lying-jpg-is-png": ("jpg", encoded(rgb, "PNG")),
        "lying-png-is-gif": ("png", encoded(small, "GIF")),
        "lying-webp-is-tiff": ("webp", encoded(rgb, "TIFF")),
        "lying-tiff-is-jpeg": ("tiff", jpeg()),
        "animated-gif": ("gif", encoded(small, "GIF", save_all=True, append_images=[small.rotate(90)])),
        "animated-png": ("png", encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(9)])),
        "animated-webp": ("webp", encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(9)])),
        "multi-page-tiff": ("tif", encoded(rgb, "TIFF", save_all=True, append_images=[rgb])),
        "one-pixel-jpeg": ("jpg", encoded(rgb.resize((1, 1)), "JPEG")),
        "one-pixel-png": ("png", encoded(rgb.resize((1, 1)), "PNG")),
        "one-pixel-gif": ("gif", encoded(small.resize((1, 1)), "GIF")),
        "line-60000-wide": ("png", encoded(Image.new("L", (60_000, 1), 7), "PNG")),
        "line-60000-high": ("png", encoded(Image.new("RGB", (1, 60_000), 7), "PNG")),
        "1-bit-png": ("png", encoded(rgb.convert("1"), "PNG")),
        "2-bit-png": ("png", encoded(rgb.quantize(4), "PNG", bits=2)),
        "4-bit-png": ("png", encoded(small, "PNG", bits=4)),
        "16-bit-png": ("png", encoded(Image.fromarray(noise.astype(np.uint16)), "PNG")),
        "16-bit-rgb-png": ("png", png(5, 4, 16, 2, zlib.compress((b"\0" + bytes(range(30))) * 4))),
        "16-bit-tiff": ("tiff", encoded(Image.fromarray(noise.astype(np.uint16)), "TIFF")),
        "32-bit-tiff": ("tiff", encoded(Image.fromarray(noise.astype(np.int32)), "TIFF")),
        "float-tiff": ("tiff", encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")),
        "cmyk-jpeg": ("jpg", encoded(rgb.convert("CMYK"), "JPEG")),
        "cmyk-tiff": ("tif", encoded(rgb.convert("CMYK"), "TIFF")),
        "lab-tiff": ("tif", encoded(rgb.convert("LAB"), "TIFF")),
        "transparent-png": ("png", encoded(Image.new("RGBA", (9, 9)), "PNG")),
        "exif-rotated": ("jpg", encoded(rgb, "JPEG", exif=exif)),
        "exif-broken": ("jpg", encoded(rgb, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")),
        "exif-garbage": ("jpg", encoded(rgb, "JPEG", exif=b"Exif\0\0" + b"\xab" * 3000)),
        "exif-loop": ("jpg", encoded(rgb, "JPEG", exif=loop)),
        "icc-garbage": ("jpg", encoded(rgb, "JPEG", icc_profile=b"not a profile" * 99)),
        "text-after-the-end": ("jpg", jpeg() + b"<?php system('id') ?>" * 9),
        "upper-case": ("JPG", jpeg()),
    }
    bad = {
        "1-bit-fax-tiff": ("tiff", fax, "TIFF with fax compression"),
        "no-bytes": ("jpg", b"", "empty image"),
        "one-byte": ("jpg", b"\xff", "not an image that can be decoded"),
        "cut-in-half": ("jpg", jpeg()[: len(jpeg()) // 2], "truncated image"),
        "cut-png": ("png", encoded(picture(size=(200, 200)), "PNG")[:3000], "truncated image"),
        "header-only": ("png", png(9, 9)[:33], ("truncated image", "damaged image")),
        "html": ("jpg", b"<html>Not found</html>", "not an image that can be decoded"),
        "svg": ("png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image that can be decoded"),
        "postscript": ("jpg", encoded(rgb, "EPS"), "not an image that can be decoded"),
        "zip": ("png", b"PK\3\4" + bytes(200), "not an image that can be decoded"),
        "icc-bomb": ("png", icc_bomb, KEPT),
        "bomb-header-only": ("png", png(30_000, 30_000, body=zlib.compress(b"")), thirty),
        "bomb": ("png", png(30_000, 30_000, 1, 0, deflated_zeros(108)), thirty),
        "bomb-gif": ("gif", gif_bomb, "image of 65535x65535"),
        "bomb-of-2-31": ("png", png((1 << 31) - 1, (1 << 31) - 1), "image of 2147483647x2147483647"),
        "tile-bomb": ("tif", tiff_with_tile(30_000), "image with a tile of 30000x30000 pixels"),
        "no-pixels": ("png", png(0, 7), ("image without pixels", "truncated image", "damaged image")),
    }
    return {name: (*found, KEPT) for name, found in good.items()} | bad


def image_shards():
    """One shard with all the images, a good one before, between and after."""
    entries, rows = [], []
    for index, (name, (extension, data, why)) in enumerate(images().items()):
        entries += [(f"{name}.{extension}", data), (f"good-{index}.jpg", jpeg(index))]
        rows += [(name, why), (f"good-{index}", KEPT)]
    return {"images": Hostile(tar_bytes(entries), tuple(rows))}


CAPTIONS = {
    "not-utf8": ({"txt": b"caf\xe9 \xff"}, "caf\ufffd \ufffd"),
    "nul": ({"txt": b"a\0b"}, "a\0b"),
    "long": ({"txt": b"x" * 100_000}, "x" * 65_536),
    "broken-json": ({"json": b'{"caption": "a"'}, None),
    "json-of-noise": ({"json": bytes(range(256))}, None),
    "deep-json": ({"json": b"[" * 200_000}, None),
    "deep-json-caption": ({"json": b'{"caption": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"}, None),
    "json-of-a-list": ({"json": b'["caption"]'}, "caption"),
    "json-of-a-number": ({"json": b"9" * 100_000}, None),
    "json-caption-is-a-number": ({"json": b'{"caption": 7}'}, None),
    "json-lone-surrogate": ({"json": b'{"caption": "\\ud800"}'}, "?"),
    "json-utf16": ({"json": json.dumps({"caption": "wide"}).encode("utf-16")}, "wide"),
    "json-long": ({"json": json.dumps({"caption": "y" * 100_000}).encode()}, "y" * 65_536),
    "json-bomb": ({"json": b'{"caption": "c", "a": [' + b"{}," * 3_000_000 + b"{}]}"}, None),
    "json-twice": ({"json": b'{"caption": "first", "caption": "second"}'}, "second"),
    "txt-before-json": ({"json": b'{"caption": "json"}', "txt": b""}, "json"),
}
"""Members beside an image, and the caption that the ledger is to have."""


def caption_shards():
    entries = []
    for name, (beside, _) in CAPTIONS.items():
        entries += [(f"{name}.jpg", jpeg()), *((f"{name}.{extension}", data) for extension, data in beside.items())]
    return {"captions": Hostile(tar_bytes(entries), kept(*CAPTIONS))}


def all_shards():
    """Every hostile shard by its file name, and good ones before, between and after."""
    named = {}
    for group in (truncated, not_tars, headers, members, image_shards, caption_shards):
        named |= {f"{group.__name__}-{name}.tar": shard for name, shard in group().items()}
    for name, shard in compressed().items():
        stem, _, suffix = name.rpartition(".")
        named[f"compressed-{stem}.tar.{suffix}"] = shard
    named |= {
        f"{name}.tar": Hostile(good_tar("g1", "g2"), kept("g1", "g2")) for name in ("aa-good", "m-good", "zz-good")
    }
    return named
