"""Edges in an output directory: which distinct embeddings, or hashes, are duplicates, whatever is selected.

`edges/KIND-FINGERPRINT/` holds `classes.parquet` (what was compared, each thing once), `pairs.parquet` (two of their
numbers, and the distance) and `rows.parquet` (which rows of which score part have which). `classes.parquet` is written
last: without it the directory is of a join that goes on, which keeps there the centres of its cells
(`centres.parquet`), its vectors by cell (`block-CENTRES-NNNNN.parquet`, see `vector_blocks`) and the pairs that it has
found (`piece-PLACES-NNNNN.parquet`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from beam_curator.duplicates.arrow_columns import codes_of
from beam_curator.duplicates.edges import Edges
from beam_curator.duplicates.settings import PERCEPTUAL, SEMANTIC
from beam_curator.errors import StorageError
from beam_curator.output import checked_parquet
from beam_curator.storage import clearing, directories, files, urls
from beam_curator.storage.retrying import is_absent, retried

T = TypeVar("T")

EDGES_DIRECTORY = "edges"
VERSIONS: Mapping[str, int] = {PERCEPTUAL: 6, SEMANTIC: 2}
"""Goes up where a kind has other pairs than an earlier release found: those are found anew. What it costs differs much:
for hashes they are compared again, for embeddings all of them are read."""

_METADATA = b"beam_curator_edges"
_CLASSES, _PAIRS, _ROWS, _CENTRES = "classes.parquet", "pairs.parquet", "rows.parquet", "centres.parquet"
_FILE = re.compile(
    rf"{EDGES_DIRECTORY}/[a-z]+-[0-9a-f]{{16}}/(classes|pairs|rows|centres|(block|piece)-[0-9a-f]{{8}}-\d{{5}})\.parquet"
)

_ROW_GROUP = 1 << 20


def if_whole(read: Callable[[], T]) -> T | None:
    """Returns what `read` gives; None where a file is not there, is damaged, or is not ours.

    Raises:
      StorageError: where storage does not give what is there: that is not made anew, nor called damaged.
    """
    try:
        return read()
    except StorageError as error:
        if not is_absent(error):
            raise
    except checked_parquet.NOT_OURS:
        pass
    return None


@dataclasses.dataclass(frozen=True)
class PartIds:
    """The ids of what a score part's rows have.

    Attributes:
      content: what tells the part's embeddings from others of the same name.
      ids: one for each row, null for rows that have none.
    """

    content: str
    ids: pa.Array


@dataclasses.dataclass(frozen=True)
class StoredEdges:
    """The content of `edges/` for one kind: what was compared, and the pairs that were found.

    Attributes:
      limit: the threshold with which it was.
      slack: how near to borders, for vectors; see `semantic.Join`.
      ids: of the n classes, in the order of their numbers.
      base: bool [n], classes that were not compared with one another.
      edges: their pairs.
      parts: the ids of the rows of score parts, by the parts' paths.
    """

    limit: float
    slack: float
    ids: pa.Array
    base: NDArray[np.bool_]
    edges: Edges
    parts: Mapping[str, PartIds] = dataclasses.field(default_factory=dict)


class EdgeStore:
    """The edges of one kind in one output directory."""

    def __init__(self, output: str, kind: str) -> None:
        self._output, self._kind = output, kind

    def read(self) -> StoredEdges | None:
        """Reads the edges that stand there, if they are whole. Where a job died before it removed what it replaced,
        those of most classes and pairs count.

        Raises:
          StorageError: when it cannot be read, after retries.
        """
        directories = [name.rpartition("/")[0] for name in self._names(_CLASSES)]
        found = [if_whole(functools.partial(self._read, directory)) for directory in directories]
        whole = [stored for stored in found if stored is not None]
        return max(whole, key=lambda stored: (len(stored.ids), len(stored.edges.first)), default=None)

    def _read(self, directory: str) -> StoredEdges:
        """Reads the edges of one directory. Raises what `if_whole` takes for a file that is not whole, where one is
        not."""
        classes = self._table(f"{directory}/{_CLASSES}")
        pairs = self._table(f"{directory}/{_PAIRS}")
        rows = self._table(f"{directory}/{_ROWS}")
        told = _told(classes.schema)
        if told.get("version") != VERSIONS[self._kind]:
            raise ValueError("of another release")
        horizon = classes["horizon"].to_numpy()
        cut = np.flatnonzero(classes["cut"].to_numpy())
        edges = _edges(pairs, len(classes), cut, horizon[cut])
        ids, base = classes["id"].combine_chunks(), classes["base"].to_numpy()
        return StoredEdges(told["limit"], told["slack"], ids, base, edges, _parts_of(rows))

    def write(self, stored: StoredEdges, fingerprint: str) -> None:
        """Replaces what stands there.

        Args:
          stored: the whole of it.
          fingerprint: what shaped it: 16 hex digits.

        Raises:
          StorageError: when it cannot be written, after retries.
        """
        directory = self.directory(fingerprint)
        edges, count = stored.edges, stored.edges.classes
        cut, horizon = np.zeros(count, bool), np.full(count, count, np.int32)
        cut[edges.cut], horizon[edges.cut] = True, edges.horizon
        self._write(f"{directory}/{_ROWS}", _rows_table(stored.parts))
        self._write(f"{directory}/{_PAIRS}", _pairs_table(edges))
        classes = pa.table({"id": stored.ids, "base": stored.base, "cut": cut, "horizon": horizon})
        told = {"limit": stored.limit, "slack": stored.slack}
        self._write(f"{directory}/{_CLASSES}", classes, told)
        kept = {f"{directory}/{name}" for name in (_CLASSES, _PAIRS, _ROWS)}
        self._delete(name for name in self._names("*.parquet") if name not in kept)

    def directory(self, fingerprint: str) -> str:
        """Names the directory, under the output directory, for what has this fingerprint."""
        return f"{EDGES_DIRECTORY}/{self._kind}-{fingerprint}"

    def path(self, fingerprint: str, name: str) -> str:
        """The path of a file in such a directory."""
        return urls.join(self._output, EDGES_DIRECTORY, f"{self._kind}-{fingerprint}", name)

    def begin(self, fingerprint: str) -> None:
        """Removes, before a join, what others left that did not end."""
        directory = self.directory(fingerprint)
        self._delete(name for name in self._of_joins() if not name.startswith(f"{directory}/"))

    def tidy(self) -> None:
        """Removes what stands beside edges that are whole: of a join whose job died as it removed it."""
        whole = {name.rpartition("/")[0] for name in self._names(_CLASSES)}
        self._delete(name for name in self._of_joins() if name.rpartition("/")[0] in whole)

    def pieces(self, fingerprint: str, classes: int) -> Pieces:
        """The pieces of a join of so many classes."""
        return Pieces(self, self.directory(fingerprint), classes)

    def centres(self, fingerprint: str) -> NDArray[np.float32] | None:
        """The centres of the cells of a join that goes on: float32 [cells, dim]."""

        def read() -> NDArray[np.float32]:
            table = self._table(f"{self.directory(fingerprint)}/{_CENTRES}")
            return np.stack(table["centre"].to_numpy()).astype(np.float32)

        return if_whole(read)

    def keep_centres(self, fingerprint: str, centres: NDArray[np.float32]) -> None:
        """Keeps the centres of a join."""
        table = pa.table({"centre": list(centres)})
        self._write(f"{self.directory(fingerprint)}/{_CENTRES}", table)

    def _of_joins(self) -> list[str]:
        """Files of joins that go on, or did not end."""
        return [name for name in self._names("*.parquet") if name.rpartition("/")[2] not in (_CLASSES, _PAIRS, _ROWS)]

    def _names(self, pattern: str) -> list[str]:
        """Files of this kind, under the output directory."""
        found = edge_files(self._output, f"{self._kind}-*/{pattern}")
        return sorted(path[len(self._output) :].lstrip("/") for path in found)

    def _table(self, name: str) -> pa.Table:
        file = checked_parquet.opened(files.read_bytes(urls.join(self._output, *name.split("/"))))
        checked = file.schema_arrow.metadata  # `read` gives another copy of it, which Parquet keeps beside Arrow's
        return file.read().replace_schema_metadata(checked)

    @retried
    def _write(self, name: str, table: pa.Table, told: Mapping[str, Any] | None = None) -> None:
        """Writes a file, without dictionaries, a row group at a time, with a checksum of each page: a bit that changes
        in a pair is found when it is read."""
        content = json.dumps({"version": VERSIONS[self._kind], **(told or {})}, sort_keys=True)
        table = table.replace_schema_metadata({_METADATA: content})
        schema = checked_parquet.sealed(_plain(table[:0]).schema)
        with (
            files.atomic_writer(self._output, name) as file,
            pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            for start in range(0, max(len(table), 1), _ROW_GROUP):
                rows = _plain(table.slice(start, _ROW_GROUP))
                writer.write_table(rows.replace_schema_metadata(schema.metadata))

    def _delete(self, names: Any) -> None:
        files.delete([urls.join(self._output, *name.split("/")) for name in names])


class Pieces:
    """The pairs that a join finds, kept piece by piece: what is there is not compared again."""

    def __init__(self, store: EdgeStore, directory: str, classes: int) -> None:
        self._store, self._directory, self._classes = store, directory, classes

    def recall(self, name: str) -> Edges | None:
        """A piece that was kept."""

        def read() -> Edges:
            table = self._store._table(f"{self._directory}/piece-{name}.parquet")
            told = _told(table.schema)
            return _edges(table, self._classes, told["cut"], told["horizon"])

        return if_whole(read)

    def keep(self, name: str, edges: Edges) -> None:
        """Keeps a piece."""
        told = {"cut": edges.cut.tolist(), "horizon": edges.horizon.tolist()}
        self._store._write(f"{self._directory}/piece-{name}.parquet", _pairs_table(edges), told)


def kinds_by_another_rule(output: str) -> list[str]:
    """The kinds of duplicates of which a release with another rule found the pairs that stand in a directory.

    Raises:
      StorageError: when a file cannot be read, after retries.
    """
    return [kind for kind in VERSIONS if any(map(_is_by_another_rule, edge_files(output, f"{kind}-*/{_CLASSES}")))]


def _is_by_another_rule(url: str) -> bool:
    def read() -> pa.Schema:
        with files.open_for_reading(url) as file:
            return pq.read_schema(file)

    kind, schema = url.rsplit("/", 2)[1].partition("-")[0], if_whole(read)
    return schema is not None and is_edges(schema) and _told(schema).get("version") != VERSIONS[kind]


def edge_files(output: str, pattern: str = "*/*.parquet") -> list[str]:
    """The paths of files in `edges/` that are called as ours are."""
    found = directories.list_files(urls.join(output, EDGES_DIRECTORY), pattern)
    return [one.path for one in found if _FILE.fullmatch("/".join(one.path.rsplit("/", 3)[1:]))]


def remove_unfinished(output: str) -> None:
    """Removes what is left of joins: vectors, centres and pieces are of no use beside a finished job, whose edges are
    whole, or which looked for no duplicates after one that died as it did.

    Raises:
      StorageError: when it cannot be listed or removed, after retries.
    """
    found = edge_files(output)
    whole = {path.rpartition("/")[0] for path in found if path.endswith(f"/{_CLASSES}")}
    of_edges = (_CLASSES, _PAIRS, _ROWS)
    files.delete(
        [path for path in found if path.rpartition("/")[0] not in whole or path.rpartition("/")[2] not in of_edges]
    )
    clearing.remove_empty_directories(urls.join(output, EDGES_DIRECTORY))


def is_edges(schema: pa.Schema) -> bool:
    """Tells whether a file with this schema holds edges."""
    return _METADATA in (schema.metadata or {})


def _rows_table(parts: Mapping[str, PartIds]) -> pa.Table:
    """A row for each row of each part; names and contents of parts are there once."""
    sizes = [len(one.ids) for one in parts.values()]
    of_row = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    names = {"part": list(parts), "content": [one.content for one in parts.values()]}
    columns = {
        name: pa.DictionaryArray.from_arrays(of_row, pa.array(values, pa.string())) for name, values in names.items()
    }
    ids = [one.ids.cast(pa.binary()) for one in parts.values()]
    return pa.table({**columns, "id": pa.chunked_array(ids, pa.binary())})


def _plain(table: pa.Table) -> pa.Table:
    """The same without dictionaries."""
    types = [one.type.value_type if pa.types.is_dictionary(one.type) else one.type for one in table.schema]
    return table.cast(pa.schema(list(zip(table.schema.names, types, strict=True)), metadata=table.schema.metadata))


def _parts_of(table: pa.Table) -> dict[str, PartIds]:
    codes = codes_of(table["part"])
    starts = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]]) if len(codes) else np.zeros(1, int)
    ids = table["id"].combine_chunks()
    found = {}
    for start, end in itertools.pairwise(starts.tolist()):
        content = table["content"][start].as_py()
        found[table["part"][start].as_py()] = PartIds(content, ids.slice(start, end - start))
    return found


def _edges(pairs: pa.Table, classes: int, cut: Any, horizon: Any) -> Edges:
    """Makes edges of a table that `_pairs_table` made, with what is cut.

    Raises:
      KeyError, ValueError: for pairs that are not of so many classes.
    """
    first, second, distance = (pairs[name].to_numpy() for name in ("first", "second", "distance"))
    if not 0 <= first.min(initial=0) <= second.max(initial=0) < max(classes, 1):
        raise ValueError(f"pairs of other than {classes} classes")
    return Edges(classes, first, second, distance, np.array(cut, np.int32), np.array(horizon, np.int32))


def _pairs_table(edges: Edges) -> pa.Table:
    return pa.table({"first": edges.first, "second": edges.second, "distance": edges.distance})


def block_metadata() -> dict[bytes, str]:
    """Makes the metadata that marks a block of vectors in `edges/` as ours and of this version."""
    return {_METADATA: json.dumps({"version": VERSIONS[SEMANTIC]})}


def _told(schema: pa.Schema) -> dict[str, Any]:
    return json.loads((schema.metadata or {}).get(_METADATA, b"{}"))
