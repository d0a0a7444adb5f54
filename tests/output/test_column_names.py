"""Names of the columns of fields in files, which many readers take alone, and back."""

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator import rows
from beam_curator.output import ledger
from beam_curator.output.column_names import schema_from_files, schema_in_files

FIELDS = ["json.url", "json.a.b", "json.a_b", "json.Ä 1", "json.URL", "json."]


def schema_of(names):
    return pa.schema([rows.field_of(name, pa.string(), rows.CARRIED) for name in names])


def test_names_are_identifiers_that_stay_different():
    schema = schema_of(["key", "json_url", *FIELDS, "url_domain"])
    found = schema_in_files(schema)
    fields = ["json_url_", "json_a_b", "json_a_b_", "json_Ä_1", "json_URL__", "json_"]
    assert found.names == ["key", "json_url", *fields, "url_domain"]
    assert all(name.isidentifier() for name in found.names)
    assert schema_from_files(found).equals(schema, check_metadata=True)


def test_rows_come_back_as_they_were_also_from_files_of_earlier_releases(tmp_path):
    table = pa.Table.from_arrays([pa.array(["x"])] * len(FIELDS), schema=schema_of(FIELDS))
    ledger.write_table(str(tmp_path), "new.parquet", table)
    assert "json_url" in pq.read_schema(tmp_path / "new.parquet").names
    pq.write_table(table, tmp_path / "old.parquet")
    for name in ("new", "old"):
        assert ledger.read_table(str(tmp_path / f"{name}.parquet")).equals(table, check_metadata=True)
