"""Shards with headers that lie."""

import tarfile

from tests.integration.hostile.odd_headers import base_256, checked, gnu_sparse, pax, pax_sparse, with_size_field
from tests.integration.hostile.parts import BLOCK, KEPT, TRUNCATED_MEMBER, TWO, Hostile, good_tar, kept, member
from tests.tars import header


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
