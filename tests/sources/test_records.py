"""The run of bytes that stands for a row or file: read again, a change in it is found out."""

import pytest

from beam_curator.sources.records import Record, bytes_of, gathered, laid, sample_of
from beam_curator.sources.tar.member_table import headers_crc32

BEFORE = [Record("a", {"jpg": b"12345", "txt": b"x"}), Record("b", {"jpg": b"678"})]


@pytest.mark.parametrize(
    "now",
    [
        [Record("a", {"jpg": b"12345", "txt": b"y"}), BEFORE[1]],
        [Record("a", {"jpg": b"123456", "txt": b"x"}), BEFORE[1]],
        [Record("a", {"jpg": b"12345"}), BEFORE[1]],
        [Record("c", {"jpg": b"12345", "txt": b"x"}), BEFORE[1]],
        BEFORE[:1],
    ],
    ids=["other-bytes", "longer", "fewer-members", "other-key", "gone"],
)
def test_records_that_changed_have_other_headers(now):
    samples = [sample_of(record, row) for row, record in enumerate(BEFORE)]
    spans = laid(sample.span_bytes for sample in samples)
    ((group, data),) = gathered(iter(now), spans, 1 << 20)
    assert group == spans
    assert len(data) == sum(size for _, size in spans)
    assert data != b"".join(map(bytes_of, BEFORE))
    crcs = [
        headers_crc32(data, place, size, [(place + m.offset, m.size) for m in sample.members.values()])
        for (place, size), sample in zip(spans, samples, strict=True)
    ]
    assert crcs != [sample.headers_crc32 for sample in samples]


def test_records_are_gathered_into_reads_of_about_a_size():
    records = [Record(str(i), {"jpg": bytes(100)}) for i in range(10)]
    spans = laid(len(bytes_of(record)) for record in records)
    groups = list(gathered(iter(records), spans, 250))
    assert [len(group) for group, _ in groups] == [2, 2, 2, 2, 2]
    assert b"".join(data for _, data in groups) == b"".join(map(bytes_of, records))
