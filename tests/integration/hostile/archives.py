"""Shards that are cut, that are no tars, or that are compressed and damaged."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile

from tests.integration.hostile.odd_headers import pax
from tests.integration.hostile.parts import (
    BLOCK,
    KEPT,
    PADDED,
    TRUNCATED_MEMBER,
    TWO,
    Hostile,
    encoded,
    good_tar,
    gzipped_zeros,
    jpeg,
    kept,
    member,
    picture,
    whole,
)
from tests.tars import header, tar_bytes, xz_that_claims_a_gigabyte


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


def compressed():
    rng = random.Random(3)
    many = tar_bytes([(f"{i:02d}.jpg", jpeg(i)) for i in range(40)] + [("noise.bin", rng.randbytes(60_000))])
    packed = gzip.compress(many, mtime=0)
    tar = good_tar("a", "b")
    xz = bytearray(lzma.compress(tar))
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
        "claims-a-gigabyte.xz": Hostile(
            xz_that_claims_a_gigabyte(tar), (), "Memory usage limit exceeded", "it takes what the header claims"
        ),
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
