"""Where members stand is kept as columns, with a sum that tells whether all around them is still the same."""

import io
import random
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator.samples import Member, Sample
from beam_curator.sources.tar.member_table import HEADERS_CRC32, MEMBERS, MemberTable, headers_crc32, member_columns
from beam_curator.sources.tar.planning import plan_ranges
from beam_curator.sources.tar.reading import read_range
from tests.examples import examples
from tests.tars import tar_bytes, write_shard

EXTENSIONS = ["jpg", "txt", "seg.png", "j\udcffp", "é"]
SAMPLES = st.lists(
    st.builds(
        lambda extensions, place, crc: Sample(
            "key", place, 512, {name: Member(name, place + index, index) for index, name in enumerate(extensions)},
            headers_crc32=crc,
        ),
        st.lists(st.sampled_from(EXTENSIONS), unique=True),
        st.integers(0, 1 << 43),
        st.none() | st.integers(0, (1 << 32) - 1),
    ),
    max_size=5,
)  # fmt: skip


def stored(samples):
    """The columns as a Parquet file gives them back."""
    file = io.BytesIO()
    pq.write_table(pa.table(member_columns(samples)), file)
    return pq.read_table(pa.BufferReader(file.getvalue()))


@examples(100)
@given(SAMPLES, st.data())
def test_any_rows_of_the_columns_give_back_their_members(samples, data):
    chosen = [index for index in range(len(samples)) if data.draw(st.booleans())]
    table = MemberTable.of(stored(samples).take(pa.array(chosen, pa.int64())))
    assert table.headers_crc32 == [samples[index].headers_crc32 for index in chosen]
    for row, index in enumerate(chosen):
        these = slice(table.first[row], table.first[row + 1])
        columns = (table.extensions.to_pylist(), table.offsets.tolist(), table.sizes.tolist())
        found = list(zip(*(column[these] for column in columns), strict=True))
        due = samples[index].members.values()
        assert found == [(m.extension.encode("utf-8", "surrogateescape"), m.offset, m.size) for m in due]


def test_a_slice_of_the_columns_counts_from_its_own_beginning():
    samples = [Sample("a", 0, 9, {"jpg": Member("jpg", 1, 2), "txt": Member("txt", 3, 4)}), Sample("b", 9, 9, {})]
    table = MemberTable.of(stored(samples * 2).slice(2, 1))
    assert table.first.tolist() == [0, 2]
    assert table.offsets.tolist() == [1, 3]


MEMBERS_OF_TWO = [(f"{key}.{name}", random.Random(key).randbytes(700)) for key in "ab" for name in ("jpg", "txt")]


@pytest.fixture
def samples(tmp_path):
    (whole,) = plan_ranges(write_shard(tmp_path / "a.tar", tar_bytes(MEMBERS_OF_TWO)), 1 << 30)
    return read_range(whole)[0]


def test_the_sum_is_over_all_that_is_no_members_data(samples):
    tar = tar_bytes(MEMBERS_OF_TWO)
    for sample in samples:
        around = bytearray(tar[sample.offset : sample.offset + sample.span_bytes])
        for member in sorted(sample.members.values(), key=lambda m: -m.offset):
            at = member.offset - sample.offset
            del around[at : at + member.size]
        assert len(around) == sample.span_bytes - 1400
        assert sample.headers_crc32 == zlib.crc32(around)


@pytest.mark.parametrize("place", [0, 130, 512 + 700, 512 + 1024 + 1, 3072 - 1])
def test_it_changes_with_any_byte_of_headers_and_padding_but_not_with_data(samples, place):
    data = bytearray(tar_bytes(MEMBERS_OF_TWO))
    places = [(m.offset, m.size) for m in samples[0].members.values()]
    assert headers_crc32(data, 0, 3072, places) == samples[0].headers_crc32
    data[512 + 5] ^= 1
    assert headers_crc32(data, 0, 3072, places) == samples[0].headers_crc32
    data[place] ^= 1
    assert headers_crc32(data, 0, 3072, places) != samples[0].headers_crc32


def test_the_columns_are_lists_of_named_fields():
    columns = member_columns([Sample("a", 0, 512, {})])
    assert columns[MEMBERS].type.value_type.names == ["extension", "offset", "size"]
    assert columns[HEADERS_CRC32].type == pa.int64()  # which Beam reads as rows; parts of before have uint32
    assert np.array(columns[MEMBERS].value_lengths()).tolist() == [0]
