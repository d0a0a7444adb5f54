"""Other projects' tools read what a job leaves, each in an environment of its own: the table of `docs/ecosystem.md`."""

import json

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.io import ReadFromParquet
from apache_beam.testing.util import assert_that, equal_to

from tests.ecosystem.conftest import SAMPLES

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]

TORCH = "torch>=2.6,<2.11"


@pytest.mark.parametrize("version", ["webdataset==0.2.86", "webdataset>=1.0"])
def test_webdataset(run_with, version):
    program = """
import glob, webdataset
shards = sorted(glob.glob("curated/*.tar"))
samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
assert {sample["clip.npy"].dtype.name for sample in samples} == {"float16"}
assert all(sample["jpg"].size[0] >= 96 for sample in samples)
assert samples[0]["curation.json"]["input_key"] == "000000000"
print(len(samples))
"""
    assert run_with([version, "pillow", TORCH], program) == f"{SAMPLES}\n"


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_datasets_read_the_directory(run_with, streaming):
    program = """
import sys, datasets
streaming = sys.argv[1] == "True"
samples = list(datasets.load_dataset("curated", split="train", streaming=streaming))
assert samples[0]["jpg"].size == (96, 64)
assert samples[0]["txt"] == "picture number 0"
print(len(samples))
"""
    assert run_with(["datasets>=4", "pillow"], program, str(streaming)).endswith(f"{SAMPLES}\n")


@pytest.mark.parametrize("files", ["curated/samples/*.parquet", "curated/0*.parquet", "curated/scores/*.parquet"])
def test_hugging_face_datasets_read_rows(run_with, files):
    program = """
import sys, datasets
print(len(datasets.load_dataset("parquet", data_files=sys.argv[1], split="train")))
"""
    assert run_with(["datasets>=4", "pillow"], program, files).endswith(f"{SAMPLES}\n")


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
    parts = [pq.read_table(path) for path in sorted((curated / "scores").glob("*.parquet"))]
    due = sum(np.concatenate(part["embedding"].to_numpy()).astype(float).sum() for part in parts)
    assert total == pytest.approx(due, rel=1e-6)


def test_faiss_finds_each_vector(run_with, vectors):
    program = """
import faiss, numpy as np
found = np.load("vectors/img_emb/img_emb_0.npy").astype("float32")
index = faiss.IndexFlatIP(found.shape[1])
index.add(found)
assert (index.search(found, 1)[1][:, 0] == np.arange(len(found))).all()
print(len(found))
"""
    assert run_with(["faiss-cpu", "numpy"], program) == f"{SAMPLES}\n"


def test_usearch_finds_each_vector(run_with, vectors):
    program = """
import numpy as np
from usearch.index import Index
found = np.load("vectors/img_emb/img_emb_0.npy")
index = Index(ndim=found.shape[1], metric="ip")
index.add(np.arange(len(found)), found)
assert (index.search(found, 1, exact=True).keys[:, 0] == np.arange(len(found))).all()
print(len(found))
"""
    assert run_with(["usearch", "numpy"], program) == f"{SAMPLES}\n"


def test_embedding_reader_reads_embeddings_with_their_rows(run_with, vectors):
    program = """
from embedding_reader import EmbeddingReader
reader = EmbeddingReader("vectors/img_emb", metadata_folder="vectors/metadata", meta_columns=["key", "caption"],
                         file_format="parquet_npy")
rows = [row for batch, meta in reader(batch_size=7) for row in meta.itertuples()]
assert rows[0].caption == "picture number 0"
print(len(rows))
"""
    assert run_with(["embedding-reader"], program).splitlines()[-1] == f"{SAMPLES}"


def test_lance_holds_what_is_exported(run_with, own_python_with, curated):
    own_python_with(["pylance"], "export", "embeddings", "curated", "--output", "for_lance", "--format", "lance")
    program = """
import lance
dataset = lance.dataset("for_lance/embeddings.lance")
nearest = dataset.to_table(nearest={"column": "vector", "q": dataset.to_table()["vector"][3].as_py(), "k": 1})
assert nearest["caption"].to_pylist() == dataset.to_table()["caption"].to_pylist()[3:4]
print(dataset.count_rows())
"""
    assert run_with(["pylance"], program) == f"{SAMPLES}\n"


def test_open_clip_trains_an_epoch_without_being_told_how_many_samples(run_with, curated):
    program = """
import sys
from open_clip_train.main import main
main(["--train-data", "curated/{00000..00002}.tar", "--dataset-type", "webdataset", "--epochs", "1",
      "--batch-size", "20", "--workers", "1", "--model", "ViT-S-32-alt", "--force-image-size", "64",
      "--logs", "logs", "--name", "one"])
print(open("logs/one/out.log").read())
"""
    assert "[60/60 (100%)]" in run_with(["open_clip_torch[training]", "webdataset==0.2.86", TORCH], program)


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
