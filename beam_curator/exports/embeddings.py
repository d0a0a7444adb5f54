"""Embeddings of what is kept, with their rows, as tools for search read them: written as they are read, range by range.

`npy` is what clip-retrieval writes and autofaiss, embedding-reader, faiss and usearch read: `img_emb/img_emb_0.npy` and
`metadata/metadata_0.parquet`, row by row. `parquet` has both in one file, `lance` is a data set of LanceDB's.
"""

from __future__ import annotations

import collections
import contextlib
import importlib.util
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.errors import UsageError
from beam_curator.exports.kept_rows import (
    Kept,
    as_schema,
    kept_count,
    kept_rows,
    schema_of_all,
    text_model_of,
    with_common_names,
)
from beam_curator.models.scorers.scorer import TEXT_EMBEDDING
from beam_curator.output.column_names import in_files, schema_in_files
from beam_curator.output.embedding_column import EMBEDDING_TYPE, embedding_array
from beam_curator.storage import clearing, directories, files, urls
from beam_curator.storage.places import below

NPY, PARQUET, LANCE = FORMATS = ("npy", "parquet", "lance")

EMBEDDING = "embedding"
_LANCE = "embeddings.lance"


def export_embeddings(output: str, to: str, format: str = NPY, rows_per_file: int = 1_000_000) -> int:
    """Writes the embeddings of all kept samples, in the order of the output shards; gives how many.

    Args:
      output: the output directory of a finished job, local or in a bucket.
      to: a directory that is empty or not there, outside of `output`.
      format: one of `FORMATS`.
      rows_per_file: how many samples each file has but the last.

    Raises:
      UsageError: where no job was finished, or `to` is no place for it.
      JobError: where embeddings are gone, or the ledger keeps other samples than its manifest tells of.
      StorageError: when something cannot be read or written, after retries.
    """
    kept = kept_count(output)
    _check_place(output, to, format)
    schema, has_texts = schema_of_all(output), text_model_of(output) is not None
    found = kept_rows(output)
    runs = _in_files(found, rows_per_file)
    names = [f"{index:0{len(str(-(-kept // rows_per_file) - 1))}d}" for index in range(-(-kept // rows_per_file))]
    if format == LANCE:
        _write_lance(to, schema, found)
        return kept
    for index, name in enumerate(names):
        count = min(rows_per_file, kept - index * rows_per_file)
        if format == NPY:
            _write_npy(to, name, count, schema, next(runs))
        else:
            _write_parquet(to, name, schema, next(runs), has_texts)
    collections.deque(found, maxlen=0)  # which raises if it is not at its end
    clearing.remove_temporary_directory(to)
    return kept


def _check_place(output: str, to: str, format: str) -> None:
    if below(to, output) is not None:
        raise UsageError(f"--output {to} lies in the job's own directory {output}: give another one")
    if not directories.is_empty(to):
        raise UsageError(f"--output {to} is not empty: give a new directory")
    if format == LANCE and importlib.util.find_spec("lance") is None:
        raise UsageError("--format lance needs the package pylance: pip install 'beam-curator[lance]'")


def _in_files(found: Iterator[Kept], rows_per_file: int) -> Iterator[Iterator[Kept]]:
    """The same in runs of so many rows, one for each file; each run is to be read to its end before the next."""
    waiting: list[Kept] = []

    def run() -> Iterator[Kept]:
        left = rows_per_file
        while left:
            one = waiting.pop() if waiting else next(found, None)
            if one is None:
                return
            taken = min(left, len(one.rows))
            if taken < len(one.rows):
                waiting.append(one.between(taken, len(one.rows)))
            left -= taken
            yield one.between(0, taken)

    while True:
        yield run()


def _write_npy(to: str, name: str, count: int, schema: pa.Schema, run: Iterator[Kept]) -> None:
    with contextlib.ExitStack() as stack:
        arrays: dict[str, IO[bytes]] = {}
        rows = stack.enter_context(files.atomic_writer(to, f"metadata/metadata_{name}.parquet"))
        table = stack.enter_context(pq.ParquetWriter(rows, schema_in_files(schema), compression="zstd"))
        for one in run:
            for kind, vectors in _kinds(one):
                if kind not in arrays:
                    file = stack.enter_context(files.atomic_writer(to, f"{kind}/{kind}_{name}.npy"))
                    arrays[kind] = _array(file, (count, vectors.shape[1]))
                arrays[kind].write(np.ascontiguousarray(vectors, "<f2").tobytes())
            table.write_table(_rows_in_files(one, schema))


def _kinds(one: Kept) -> list[tuple[str, np.ndarray]]:
    """The vectors of some samples, by the names that clip-retrieval has for them."""
    return [("img_emb", one.embeddings), *([] if one.texts is None else [("text_emb", one.texts)])]


def _array(file: IO[bytes], shape: tuple[int, int]) -> IO[bytes]:
    """The file with what an .npy begins with."""
    header: dict[str, Any] = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def _text_array(texts: np.ndarray) -> pa.ListArray:
    """Embeddings of captions as a column, null where a sample has no caption."""
    return embedding_array(texts, np.logical_not(texts.any(axis=1)))


def _write_parquet(to: str, name: str, schema: pa.Schema, run: Iterator[Kept], has_texts: bool) -> None:
    whole = schema_in_files(schema).append(pa.field(EMBEDDING, EMBEDDING_TYPE))
    if has_texts:
        whole = whole.append(pa.field(TEXT_EMBEDDING, EMBEDDING_TYPE))
    with (
        files.atomic_writer(to, f"embeddings_{name}.parquet") as file,
        pq.ParquetWriter(file, whole, compression="zstd") as writer,
    ):
        for one in run:
            table = _rows_in_files(one, schema)
            table = table.append_column(whole.field(EMBEDDING), embedding_array(one.embeddings))
            if one.texts is not None:
                table = table.append_column(whole.field(TEXT_EMBEDDING), _text_array(one.texts))
            writer.write_table(table)


def _write_lance(to: str, schema: pa.Schema, found: Iterator[Kept]) -> None:
    """Vectors of one length, as LanceDB wants them for an index."""
    import lance

    first = next(found)
    vector = pa.list_(pa.float32(), first.embeddings.shape[1])
    names = ["vector", *([] if first.texts is None else ["text_vector"])]
    whole = pa.schema([*schema_in_files(schema), *(pa.field(name, vector) for name in names)])

    def batches() -> Iterator[pa.RecordBatch]:
        for one in _with_first(first, found):
            table = _rows_in_files(one, schema)
            for name, (_, vectors) in zip(names, _kinds(one), strict=True):
                flat = pa.array(vectors.astype(np.float32).reshape(-1))
                nothing = pa.array(np.logical_not(vectors.any(axis=1)))
                table = table.append_column(name, pa.FixedSizeListArray.from_arrays(flat, type=vector, mask=nothing))
            yield from table.combine_chunks().to_batches()

    lance.write_dataset(pa.RecordBatchReader.from_batches(whole, batches()), urls.join(to, _LANCE))


def _rows_in_files(kept: Kept, schema: pa.Schema) -> pa.Table:
    """The rows in these columns, as files have them."""
    return in_files(as_schema(with_common_names(kept.rows), schema))


def _with_first(first: Kept, others: Iterator[Kept]) -> Iterator[Kept]:
    yield first
    yield from others
