"""The selection as DataComp's tools take it: a sorted array of the uids of what is kept, which its downloads bring."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator

import numpy as np

from beam_curator import json_text
from beam_curator.errors import JobError, UsageError
from beam_curator.exports.kept_rows import check_kept, kept_count
from beam_curator.output import ledger
from beam_curator.output.belonging import output_shard_files
from beam_curator.storage import clearing, files
from beam_curator.storage.places import below

UID_TYPE = np.dtype("u8,u8")
"""128 bits, as DataComp's resharder has them."""

_COLUMN = "json.uid"
_UID = re.compile(r"[0-9a-fA-F]{1,32}")


def export_datacomp_uids(output: str, to: str) -> int:
    """Writes the uids of all kept samples as a .npy of `UID_TYPE`, sorted, each once; gives how many. In memory are 16
    bytes of each.

    Args:
      output: the output directory of a finished job, local or in a bucket.
      to: the file, outside of `output`.

    Raises:
      UsageError: where no job was finished, or `to` is no place for it.
      JobError: where a kept sample has no uid of 32 hex digits in its `.json`, or rows beside output shards are gone.
      StorageError: when something cannot be read or written, after retries.
    """
    kept = kept_count(output)
    if below(to, output) is not None:
        raise UsageError(f"--output {to} lies in the job's own directory {output}: give another place")
    found = [np.array([], UID_TYPE)]
    for path, _ in sorted(output_shard_files(output), key=lambda one: one[1]):
        if path.endswith(".parquet"):
            found.append(_uids_of(path))
    uids = np.concatenate(found)
    check_kept(output, len(uids), kept)
    ordered = uids[np.lexsort((uids["f1"], uids["f0"]))]
    fresh = np.ones(len(ordered), bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    content = io.BytesIO()
    np.save(content, ordered[fresh])
    directory, slash, name = to.rpartition("/")
    files.write_bytes(directory or slash or ".", name, content.getvalue())
    clearing.remove_temporary_directory(directory or slash or ".")
    return int(fresh.sum())


def _uids_of(path: str) -> np.ndarray:
    """The uids of one output shard: from its rows, or where they were not carried, from the samples themselves."""
    table = ledger.read_table(path)
    keys = table["key"].to_pylist()
    if _COLUMN in table.schema.names:
        told = dict(zip(keys, table[_COLUMN].to_pylist(), strict=True))
    else:
        told = dict(_in_tar(f"{path.removesuffix('.parquet')}.tar"))
    pairs = []
    for key in keys:
        uid = told.get(key)
        if not isinstance(uid, str) or not _UID.fullmatch(uid):
            raise JobError(
                f"{path.removesuffix('.parquet')}.tar: sample {key} has no uid of 32 hex digits in its .json, as "
                f"DataComp's downloads have it, but {uid!r}: its tools cannot be told which samples these are"
            )
        pairs.append(divmod(int(uid, 16), 1 << 64))
    return np.array(pairs, UID_TYPE)


def _in_tar(path: str) -> Iterator[tuple[str, object]]:
    with files.open_for_reading(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            content = tar.extractfile(member) if extension == "json" else None
            if content is not None:
                try:
                    told = json_text.loads(content.read())
                except ValueError:
                    told = None
                yield key, told.get("uid") if isinstance(told, dict) else None
