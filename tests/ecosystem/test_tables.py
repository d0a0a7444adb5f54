"""Tables of the output are read by other projects' readers, each in an environment of its own."""

import json
import shutil

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.io import ReadFromParquet
from apache_beam.testing.util import assert_that, equal_to

from tests.ecosystem.conftest import SAMPLES

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]


READERS = {
    "pandas": (["pandas", "pyarrow"], "import pandas; t = pandas.concat(map(pandas.read_parquet, files))"),
    "polars": (["polars", "numpy"], "import polars; t = polars.concat(map(polars.read_parquet, files)).to_dict()"),
    "duckdb": (["duckdb", "pandas"], "import duckdb; t = duckdb.sql(f'select * from read_parquet({files})').df()"),
    "fastparquet": (
        ["fastparquet"],
        "import pandas, fastparquet; t = pandas.concat(fastparquet.ParquetFile(f).to_pandas() for f in files)",
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_tables_are_read_with_the_same_embeddings_and_rows(run_with, curated, reader):
    requirements, reading = READERS[reader]
    program = f"""
import glob, json
def read(pattern):
    files = sorted(glob.glob(pattern))
    {reading}
    return t
parts, ledger, rows = (read(f"curated/{{of}}") for of in ("scores/*.parquet", "samples/*.parquet", "0*.parquet"))
total = sum(float(sum(map(float, one))) for one in parts["embedding"])
print(json.dumps([len(parts["key"]), len(ledger["sample_id"]), len(rows["key"]), total]))
"""
    *counts, total = json.loads(run_with(requirements, program))
    assert counts == [SAMPLES] * 3
    assert total == pytest.approx(sum_of_embeddings(curated), rel=1e-6)


def sum_of_embeddings(curated):
    """The sum of all numbers of all embeddings in the score parts."""
    parts = [pq.read_table(path) for path in sorted((curated / "scores").glob("*.parquet"))]
    return sum(np.concatenate(part["embedding"].to_numpy()).astype(float).sum() for part in parts)


def test_spark_reads_the_same(run_with, curated):
    """Needs Java. Fields are selected by name, without backticks."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs java, which is not there")
    program = """
import json
from pyspark.sql import SparkSession, functions
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
read = spark.read.option("mergeSchema", "true").parquet
parts, ledger, rows = (read(f"curated/{of}") for of in ("scores/*.parquet", "samples/*.parquet", "0*.parquet"))
same = ledger.filter("json_exif_width = width").select("json_url", "json_uid").distinct().count()
values = parts.select(functions.explode("embedding").alias("value"))
total = values.select(functions.sum(functions.col("value").cast("double"))).first()[0]
print(json.dumps([parts.count(), ledger.count(), rows.count(), same, total]))
"""
    *counts, total = json.loads(run_with(["pyspark"], program).splitlines()[-1])
    assert counts == [SAMPLES] * 4
    assert total == pytest.approx(sum_of_embeddings(curated), rel=1e-6)


def test_beam_reads_rows(curated):
    with beam.Pipeline("FnApiRunner") as pipeline:
        for name, files in (("ledger", "samples/*.parquet"), ("rows", "0*.parquet")):
            rows = pipeline | name >> ReadFromParquet(f"{curated}/{files}", as_rows=True)
            found = rows | f"{name} values" >> beam.Map(lambda row: (row.status, row.json_exif_width == row.width))
            counts = found | f"{name} counts" >> beam.combiners.Count.PerElement()
            assert_that(counts, equal_to([(("kept", True), SAMPLES)]), label=f"{name} as due")
        parts = pipeline | "Parts" >> ReadFromParquet(f"{curated}/scores/*.parquet", as_rows=True)
        lengths = parts | "Lengths" >> beam.Map(lambda row: len(row.embedding))
        assert_that(lengths | "Count" >> beam.combiners.Count.PerElement(), equal_to([(768, SAMPLES)]), label="Same")
