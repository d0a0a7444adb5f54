"""Any bytes as a shard: planning and reading give samples and reasons, and nothing else.

python fuzz/fuzz_tar.py -max_total_time=300 -max_len=65536 -rss_limit_mb=2048 -timeout=20

It wants `pip install atheris`, in any environment that has the project; flags are libFuzzer's. `check_shard` is also
what tests/test_fuzz_regressions.py calls on the inputs in tests/fuzz_corpus.
"""

from __future__ import annotations

import io
import pathlib
import random
import sys
import tempfile
import zlib

if __name__ == "__main__":
    import atheris

    with atheris.instrument_imports(include=["beam_curator", "tarfile", "gzip"]):
        import tarfile

        import beam_curator.sources.sample_batches  # noqa: F401

import gzip
import lzma
import tarfile

from beam_curator import rows
from beam_curator.samples import Sample, Shard, ShardError, ShardRange
from beam_curator.sources.tar.captions import caption_of
from beam_curator.sources.tar.compression import decompressed, detect_compression, read_to_damage
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.sources.tar.reading import read_range
from beam_curator.sources.tar.span_reading import read_samples_at

EVERY_SAMPLE, WHOLE = 1, 1 << 40
BLOCK = tarfile.BLOCKSIZE

Read = tuple[list[Sample], list[ShardError]]


def check_shard(data: bytes) -> None:
    """Plans and reads these bytes, in ranges of several sizes, and asserts what is promised of any bytes at all."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "shard.tar"
        path.write_bytes(data)
        shard = Shard(str(path), len(data), "1")
        tar = tar_of(data)
        whole = read_in_ranges(shard, tar, WHOLE)
        for range_bytes in (EVERY_SAMPLE, 1 + zlib.crc32(data) % 8192):
            split = read_in_ranges(shard, tar, range_bytes)
            assert facts(split) == facts(whole), f"ranges of {range_bytes} bytes"


def tar_of(data: bytes) -> bytes:
    """The tar that the shard holds, as far as it can be decompressed."""
    file = io.BytesIO(data)
    compression = detect_compression(file)
    return read_to_damage(decompressed(file, compression), 1 << 30)[0] if compression else data


def read_in_ranges(shard: Shard, tar: bytes, range_bytes: int) -> Read:
    """All samples and errors of a shard; asserts that its ranges tile it, and what each of them gives."""
    ranges = list(plan_ranges(shard, range_bytes))
    assert ranges[0].start == 0
    assert ranges[-1].end == len(tar)
    assert [one.end for one in ranges[:-1]] == [one.start for one in ranges[1:]]
    assert [one.ordinal for one in ranges] == list(range(len(ranges)))
    assert [one.last for one in ranges] == [False] * (len(ranges) - 1) + [True]
    results = [checked(one, tar, *read_range(one)[:2]) for one in ranges]
    return [s for samples, _ in results for s in samples], [e for _, errors in results for e in errors]


def checked(range: ShardRange, tar: bytes, samples: list[Sample], errors: list[ShardError]) -> Read:
    """Asserts that what a range gave is inside the range, can be written down, and can be read again; returns it."""
    end = range.start
    for sample in samples:
        assert end <= sample.offset < range.end, (sample, end, range)
        end = sample.offset + sample.span_bytes
        for member in sample.members.values():
            assert sample.offset < member.offset <= member.offset + member.size <= end, (sample, member)
            assert sample.failure or bytes(member.data or b"") == tar[member.offset : member.offset + member.size]
    assert all(range.start <= error.offset <= range.end and error.reason for error in errors), errors
    rows.from_samples(range, samples, [caption_of(sample) for sample in samples])
    good = [sample for sample in samples if not sample.failure]
    again = list(read_samples_at(range, [(sample.offset, sample.span_bytes) for sample in good]))
    assert facts((again, [])) == facts((good, []))
    return samples, errors


def facts(read: Read) -> list[object]:
    """Lists all that must be the same for every split."""
    samples, errors = read
    return [
        *((s.key, s.offset, s.span_bytes, s.failure, list(s.members.values())) for s in samples),
        *(bytes(m.data or b"") for s in samples if not s.failure for m in s.members.values()),
        *((error.offset, error.reason) for error in errors),
    ]


def with_checksums(data: bytes) -> bytes:
    """The bytes with the checksum of every block set that looks like a header: so that what else is wrong is seen."""
    blocks = bytearray(data)
    for start in range(0, len(blocks) - BLOCK + 1, BLOCK):
        if blocks[start + 257 : start + 262] == b"ustar":
            total = sum(blocks[start : start + 148]) + 256 + sum(blocks[start + 156 : start + BLOCK])
            blocks[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(blocks)


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutates bytes once more: any bytes, or the numbers, types and names in headers."""
    choose = random.Random(seed)
    if choose.random() < 0.5 or len(data) < BLOCK:
        data = atheris.Mutate(data, max_size)
    else:
        start = choose.randrange(len(data) // BLOCK) * BLOCK
        fields = ((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155), (0, BLOCK))
        offset, size = choose.choice(fields)
        field = atheris.Mutate(data[start + offset : start + offset + size], size).ljust(size, b"\0")
        if choose.random() < 0.3:
            values = (b"x", b"g", b"L", b"K", b"S", b"0", b"\x80\0\0\0\0", b"77777777777", b"\xff")
            field = choose.choice(values).ljust(size)
        data = data[: start + offset] + field[:size] + data[start + offset + size :]
    return with_checksums(data)[:max_size] if choose.random() < 0.9 else data[:max_size]


def seeds() -> list[bytes]:
    """Small tars of every format, with every type of member, and compressed ones."""
    tars = []
    for format in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=format, pax_headers={"comment": "seed"}) as tar:
            for name, content in (("a.jpg", b"x" * 600), ("a.txt", b"cap"), ("dir/b.json", b"{}"), ("b.x.png", b"")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            for type in (tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE):
                info = tarfile.TarInfo("c.jpg")
                info.type, info.linkname = type, "d.jpg"
                tar.addfile(info)
            if format != tarfile.USTAR_FORMAT:
                tar.addfile(tarfile.TarInfo("n" * 150 + ".jpg"))
                tar.addfile(tarfile.TarInfo("caf\udce9.jpg"))
        tars.append(file.getvalue())
    packed = [gzip.compress(tars[0], mtime=0), lzma.compress(tars[0]), gzip.compress(tars[1])[:150]]
    return [*tars, *packed, b"", bytes(1024)]


def main() -> None:
    """Fuzzes until a flag of libFuzzer's, or a failure, ends it."""
    with tempfile.TemporaryDirectory() as directory:
        known = pathlib.Path(__file__).parents[1] / "tests" / "fuzz_corpus" / "tar"
        for index, seed in enumerate([*seeds(), *(path.read_bytes() for path in sorted(known.iterdir()))]):
            (pathlib.Path(directory) / f"seed{index}").write_bytes(seed)
        atheris.Setup([*sys.argv, directory], check_shard, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
