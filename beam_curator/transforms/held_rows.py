"""Rows of the ledger that a job in one process has just written, held for its report, which passes over them twice: to
decode them from Parquet takes longer than to count them.

They lie uncompressed in the temporary file of what waits between stages, some hundred bytes a row. Where there is none,
as on workers elsewhere, and for files of many ranges, the report reads the ledger.
"""

from __future__ import annotations

import functools

import pyarrow as pa

from beam_curator.output.column_names import schema_in_files
from beam_curator.report.ledger_files import REPEATING, Held
from beam_curator.report.tally import columns_counted
from beam_curator.transforms import spilling

_REPEATED = pa.dictionary(pa.int32(), pa.string())


def hold(name: str, table: pa.Table) -> None:
    """Holds the rows of a file of the ledger, if the pipeline that this thread runs has a report to write.

    Raises:
      JobError: where there is no room for them.
    """
    if not spilling.holds():
        return
    places, schema = _counted(table.schema)
    columns = [
        table.column(place).dictionary_encode() if pa.types.is_dictionary(field.type) else table.column(place)
        for place, field in zip(places, schema, strict=True)
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(pa.Table.from_arrays(columns, schema=schema))
    spilling.hold(_key(name), memoryview(sink.getvalue()))


def _counted(schema: pa.Schema) -> tuple[list[int], pa.Schema]:
    """The places of the columns that are held of rows with this schema, and their schema as it is read from files."""
    global _last
    last = _last
    if last is None or not last[0].equals(schema, check_metadata=True):
        names = columns_counted(schema)
        places = [place for place, name in enumerate(schema.names) if name in names]
        some = schema_in_files(pa.schema([schema.field(place) for place in places]))
        read = [field.with_type(_REPEATED) if _repeats(field) else field for field in some]
        _last = last = schema, (places, pa.schema(read))
    return last[1]


def _repeats(field: pa.Field) -> bool:
    return field.name in REPEATING and pa.types.is_string(field.type)


_last: tuple[pa.Schema, tuple[list[int], pa.Schema]] | None = None
"""The answer of the last call: nearly all ranges have the same columns."""


def held_rows() -> Held:
    """What the pipeline that this thread runs holds, for a survey and a tally; other threads may ask it."""
    return functools.partial(_held, spilling.current())


def _held(pipeline: bytes, url: str) -> pa.Table | None:
    data = spilling.held(_key(url), pipeline)
    return None if data is None else pa.ipc.open_stream(data).read_all()


def _key(url: str) -> str:
    return url.rpartition("/")[2]
