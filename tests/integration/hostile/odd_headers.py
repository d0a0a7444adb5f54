"""Tar headers written by hand, whatever they claim."""

import tarfile

from tests.integration.hostile.parts import BLOCK, member, padded
from tests.tars import header


def record(keyword, value):
    """Makes one PAX record, which begins with its own length."""
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
