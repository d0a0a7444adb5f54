"""Files of what was computed: a bit that has changed since is found, in their pages and in what their footers tell."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator.output import checked_parquet

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), metadata={"role": "fact"}),
        pa.field("vector", pa.list_(pa.float32()), metadata={"role": "internal"}),
        pa.field("kind", pa.dictionary(pa.int32(), pa.string())),
    ],
    metadata={"told": '{"errors": 3, "limit": 0.97}'},
)
TABLE = pa.table([["a", "b"], [[1.0, 2.0], None], pa.array(["x", "x"]).dictionary_encode()], schema=SCHEMA)


def what_it_tells(content):
    file = checked_parquet.opened(content)
    schema = file.schema_arrow
    if not schema.metadata or b"told" not in schema.metadata:
        raise ValueError("it is none of ours")
    return schema.metadata[b"told"], [(one.name, one.metadata) for one in schema], file.read().to_pydict()


def test_what_is_written_is_read():
    told, columns, values = what_it_tells(checked_parquet.encoded(TABLE))
    assert told == b'{"errors": 3, "limit": 0.97}'
    assert [(name, metadata[b"role"]) for name, metadata in columns[:2]] == [
        ("key", b"fact"),
        ("vector", b"internal"),
    ]
    assert values == TABLE.to_pydict()


@pytest.mark.parametrize("bit", [0, 3, 5])
def test_a_file_of_which_one_bit_has_changed_tells_the_same_or_is_refused(bit):
    content = checked_parquet.encoded(TABLE)
    whole, refused = what_it_tells(content), 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        try:
            assert what_it_tells(bytes(changed)) == whole, place
        except checked_parquet.NOT_OURS:
            refused += 1
    assert refused > len(content) / 4


def test_a_file_of_an_earlier_release_is_read_without_its_checksum():
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink)
    assert what_it_tells(sink.getvalue().to_pybytes())[2] == TABLE.to_pydict()
