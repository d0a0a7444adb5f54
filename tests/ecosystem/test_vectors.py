"""Tools for search read what `beam-curator export embeddings` writes, each in an environment of its own."""

import pytest

from tests.ecosystem.conftest import SAMPLES, TORCH

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]


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


def test_autofaiss_builds_an_index(run_with, vectors):
    program = """
import numpy as np
from autofaiss import build_index
index, _ = build_index("vectors/img_emb", save_on_disk=False, metric_type="ip", max_index_memory_usage="1GB",
                       current_memory_available="2GB", nb_cores=1, verbose=40)
found = np.load("vectors/img_emb/img_emb_0.npy").astype("float32")
assert (index.search(found, 1)[1][:, 0] == np.arange(index.ntotal)).all()
print(index.ntotal)
"""
    assert run_with(["autofaiss", "pyarrow<21"], program).splitlines()[-1] == f"{SAMPLES}"


def test_clip_retrieval_indexes_the_directory(run_with, vectors):
    program = """
import json, pathlib, subprocess, sys
import pyarrow.parquet as pq
command = [pathlib.Path(sys.executable).with_name("clip-retrieval"), "index", "vectors", "for_retrieval"]
memory = ["--max_index_memory_usage", "1GB", "--current_memory_available", "2GB", "--nb_cores", "1"]
subprocess.run([*command, *memory], check=True, stdout=sys.stderr)
captions = pq.read_table("for_retrieval/metadata")["caption"].to_pylist()
assert captions == [f"picture number {index}" for index in range(len(captions))]
print(json.dumps([len(captions), json.load(open("for_retrieval/image.json"))["nb vectors"]]))
"""
    done = run_with(["clip-retrieval", "setuptools<81", "pyarrow<21", TORCH], program)
    assert done.splitlines()[-1] == f"[{SAMPLES}, {SAMPLES}]"
