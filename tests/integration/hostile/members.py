"""Shards with members of odd names, kinds and places."""

import tarfile

from tests.integration.hostile.odd_headers import gnu_sparse, pax, pax_sparse
from tests.integration.hostile.parts import KEPT, TWO, Hostile, good_tar, jpeg, kept, member, whole
from tests.tars import Entry, tar_bytes

NO_IMAGE = "no image in the sample"


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
