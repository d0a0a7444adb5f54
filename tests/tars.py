"""Shards made for tests, and what webdataset reads from them: the reference that ours is compared with."""

import bz2
import contextlib
import dataclasses
import gzip
import io
import lzma
import pathlib
import tarfile
import tempfile
import zlib

import lz4.frame
from backports import zstd
from webdataset import tariterators

from beam_curator.samples import Shard
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.sources.tar.reading import read_range

COMPRESSORS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": lambda data: bz2.compress(data, compresslevel=1),
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),  # as zstd(1) does
    "lz4": lambda data: lz4.frame.compress(data, content_checksum=True),  # as lz4(1) does
}


def xz_that_claims_a_gigabyte(data):
    """An xz file whose header wants a dictionary of 1 GiB, made without the 11 GB that packing with one takes."""
    packed = bytearray(lzma.compress(data))
    start, size = 12, (packed[12] + 1) * 4
    block = packed[start : start + size - 4]
    at = block.index(b"\x21\x01") + 2  # LZMA2, with one byte of properties: 2**(36 // 2 + 12)
    block[at] = 36
    packed[start : start + size] = block + zlib.crc32(block).to_bytes(4, "little")
    return bytes(packed)


@dataclasses.dataclass(frozen=True)
class Entry:
    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    link: str = "target"


def tar_bytes(entries, format=tarfile.PAX_FORMAT):
    """A tar of these entries, (name, data) pairs or `Entry`; those whose name the format cannot hold are left out."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for entry in entries:
            entry = entry if isinstance(entry, Entry) else Entry(*entry)
            info = tarfile.TarInfo(entry.name)
            info.type = entry.type
            info.linkname = entry.link if entry.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            info.size = len(entry.data) if entry.type == tarfile.REGTYPE else 0
            with contextlib.suppress(ValueError):  # ustar: "name is too long"
                tar.addfile(info, io.BytesIO(entry.data))
    return file.getvalue()


def without_end(tar):
    """The tar up to the end of its last member, padding included."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        opened.getmembers()
        return tar[: opened.offset]


def header(name, size=0, type=tarfile.REGTYPE, format=tarfile.GNU_FORMAT):
    """Makes one entry's header, whatever size it claims."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, type
    return info.tobuf(format)


@dataclasses.dataclass
class Reference:
    """A sample as webdataset reads it; `failed` where it raises for a repeated name."""

    key: str
    members: dict
    failed: bool = False


def webdataset_samples(data):
    samples, failed = [], set()

    def handler(error):
        assert "duplicate file name" in str(error), error
        failed.add(len(samples))  # it raises for the sample that it is gathering, after those that it gave
        return True

    source = [{"url": "shard", "stream": io.BytesIO(data)}]
    expanded = tariterators.tar_file_expander(source)
    files = (file for file in expanded if not file.get("fname", "").rpartition("/")[2].startswith("."))  # no dot files
    for found in tariterators.group_by_keys(files, handler=handler):
        members = {name: value for name, value in found.items() if not name.startswith("__")}
        samples.append(Reference(found["__key__"], members))
    for index in failed:
        samples[index].failed = True
    return samples


@contextlib.contextmanager
def standing(data, name="shard.tar"):
    """A shard with these bytes, as long as the block runs."""
    with tempfile.TemporaryDirectory() as directory:
        yield write_shard(pathlib.Path(directory) / name, data)


def write_shard(path, data):
    path.write_bytes(data)
    return Shard(str(path), len(data), "1")


def read_shard(shard, range_bytes=1 << 40):
    """All samples and errors of a shard, range by range; asserts that the ranges tile it."""
    ranges = list(plan_ranges(shard, range_bytes))
    assert ranges[0].start == 0
    assert [one.end for one in ranges[:-1]] == [one.start for one in ranges[1:]]
    assert [one.ordinal for one in ranges] == list(range(len(ranges)))
    assert [one.last for one in ranges] == [False] * (len(ranges) - 1) + [True]
    results = [read_range(one) for one in ranges]
    return [sample for one in results for sample in one.samples], [error for one in results for error in one.errors]


def read_bytes(data, range_bytes=1 << 40, name="shard.tar"):
    with standing(data, name) as shard:
        return read_shard(shard, range_bytes)


def members_of(sample):
    return {extension: bytes(member.data) for extension, member in sample.members.items()}


def as_reference(samples):
    """Our samples in the form of the reference; of failed ones, the key is all that must agree."""
    return [(s.key, None if s.failure else list(members_of(s).items())) for s in samples]


def expected(references):
    return [(r.key, None if r.failed else list(r.members.items())) for r in references]
