"""Names the columns of fields in Parquet files: `json_url` for `json.url`.

A dot leads into a struct for Lance, Spark, Beam's rows, BigQuery and others; and many take letters, digits and
underscores alone, and no two names that differ in the case of letters. Each column says its own name beside.
"""

from __future__ import annotations

import re

import pyarrow as pa

from beam_curator.field_names import PREFIX

_NAME = b"name"
_OTHER = re.compile(r"\W")


def in_files(table: pa.Table) -> pa.Table:
    """The rows with the columns that files have: those of fields under names that every reader takes."""
    return pa.Table.from_arrays(table.columns, schema=schema_in_files(table.schema))


def schema_in_files(schema: pa.Schema) -> pa.Schema:
    """The schema with a name for each field that is an identifier, and no other's, whatever the case of letters. A name
    that is taken gets underscores at its end."""
    taken = {name.casefold() for name in schema.names if not name.startswith(PREFIX)}
    fields = []
    for field in schema:
        if field.name.startswith(PREFIX):
            name = _OTHER.sub("_", field.name)
            while name.casefold() in taken:
                name += "_"
            taken.add(name.casefold())
            field = field.with_name(name).with_metadata({**(field.metadata or {}), _NAME: field.name.encode()})
        fields.append(field)
    return pa.schema(fields, schema.metadata)


def from_files(table: pa.Table) -> pa.Table:
    """The inverse of `in_files`; files of earlier releases have the names of rules already."""
    return pa.Table.from_arrays(table.columns, schema=schema_from_files(table.schema))


def schema_from_files(schema: pa.Schema) -> pa.Schema:
    """The inverse of `schema_in_files`."""
    return pa.schema([_from_files(field) for field in schema], schema.metadata)


def _from_files(field: pa.Field) -> pa.Field:
    metadata = dict(field.metadata or {})
    name = metadata.pop(_NAME, None)
    return field if name is None else field.with_name(name.decode()).with_metadata(metadata)
