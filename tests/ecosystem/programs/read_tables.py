"""Ledger, rows beside the tars and score parts, as a reader of tables sees them: prints rows and a sum of embeddings."""

import glob
import json
import sys

reader, output = sys.argv[1:]


def of_pandas(paths):
    import pandas

    table = pandas.concat([pandas.read_parquet(path) for path in paths])
    return len(table), [None if v is None else list(map(float, v)) for v in table.get("embedding", [])]


def of_polars(paths):
    import polars

    table = polars.concat([polars.read_parquet(path) for path in paths], how="diagonal_relaxed")
    return len(table), table["embedding"].to_list() if "embedding" in table.columns else []


def of_duckdb(paths):
    import duckdb

    table = duckdb.sql(f"SELECT * FROM read_parquet({paths!r}, union_by_name=true)")
    rows = table.fetchall()
    return len(rows), [row[table.columns.index("embedding")] for row in rows] if "embedding" in table.columns else []


def of_fastparquet(paths):
    import fastparquet
    import pandas

    table = pandas.concat([fastparquet.ParquetFile(path).to_pandas() for path in paths])
    vectors = table["embedding"] if "embedding" in table else []
    return len(table), [None if v is None or isinstance(v, float) else list(map(float, v)) for v in vectors]


def of_spark(paths):
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    table = spark.read.option("mergeSchema", "true").parquet(*paths)
    vectors = [row.embedding for row in table.select("embedding").collect()] if "embedding" in table.columns else []
    return len(table.collect()), vectors


def of_beam(paths):
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    found = []
    for path in paths:  # as_rows takes the types of the first file
        with beam.Pipeline(FnApiRunner()) as pipeline:
            rows = pipeline | beam.io.ReadFromParquet(path, as_rows=True)
            rows | beam.Map(found_of) | beam.combiners.ToList() | beam.Map(found.append)
    return None, None


def found_of(row):
    return getattr(row, "embedding", None)


told = {}
for name, pattern in {"ledger": "samples/*.parquet", "rows": "[0-9]*.parquet", "scores": "scores/*.parquet"}.items():
    try:
        count, vectors = globals()[f"of_{reader}"](sorted(glob.glob(f"{output}/{pattern}")))
        there = [vector for vector in vectors if vector is not None]
        total = sum(sum(abs(number) for number in vector) for vector in there)
        told[name] = {"rows": count, "vectors": len(there), "sum": round(total, 2)}
    except Exception as error:
        told[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
print(json.dumps(told))
