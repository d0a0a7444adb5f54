"""Archives as real writers end them: what fills the last record is no damage, what hides samples is."""

import random
import tarfile

import pytest

from tests.tars import COMPRESSORS, read_bytes, tar_bytes, without_end

NOISE = random.Random(15)
MEMBERS = [(f"{i}.jpg", NOISE.randbytes(3000)) for i in range(9)]
ARCHIVE = without_end(tar_bytes(MEMBERS, tarfile.USTAR_FORMAT))
RECORD = 10240
LEFT = -len(ARCHIVE) % RECORD
"""How much of the last record is free."""


def as_ant_writes(archive, zero_blocks):
    """Whole records from one buffer, which still holds the record before where nothing was written since."""
    data = archive + bytes(512 * zero_blocks)
    full = len(data) // RECORD * RECORD
    return data + data[full - RECORD : full][len(data) - full :]


@pytest.mark.parametrize(
    "data",
    [
        as_ant_writes(ARCHIVE, 1),
        as_ant_writes(ARCHIVE, 2),
        ARCHIVE + bytes(1024) + NOISE.randbytes(LEFT - 1024),
        ARCHIVE + bytes(1024) + b"\n",
        ARCHIVE + bytes(512),
        ARCHIVE + bytes(100),
        ARCHIVE + bytes(1024 + 77),
        ARCHIVE + bytes(LEFT + 3 * RECORD),
    ],
    ids=["ant", "ant, two blocks", "AIX", "a newline", "one block", "short block", "odd length", "more records"],
)
@pytest.mark.parametrize("size", [1, 1 << 40])
@pytest.mark.parametrize("compression", ["", "gzip"])
def test_what_fills_the_last_record_is_no_damage(data, size, compression):
    assert LEFT > 1024
    samples, errors = read_bytes(COMPRESSORS[compression](data) if compression else data, size)
    assert [sample.key for sample in samples] == [name[:-4] for name, _ in MEMBERS]
    assert errors == []


@pytest.mark.parametrize(
    "data",
    [
        ARCHIVE + bytes(1024) + tar_bytes([("z.jpg", b"z")], tarfile.USTAR_FORMAT)[:1024],
        ARCHIVE + bytes(1024) + NOISE.randbytes(LEFT),
        ARCHIVE + bytes(512) + NOISE.randbytes(LEFT - 512),
        ARCHIVE[:-3584] + bytes(512) + ARCHIVE[-3072:] + bytes(LEFT),
        tar_bytes(MEMBERS) + tar_bytes([("z.jpg", b"z")]),
    ],
    ids=["an archive", "over the record", "one zero block", "a header that was lost", "two archives"],
)
def test_what_may_hide_samples_is_told(data):
    _, (error,) = read_bytes(data)
    assert error.reason == "data after the end-of-archive block, which tar does not read"
