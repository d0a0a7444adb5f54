"""Reading what a job left."""

import hashlib

import pyarrow.dataset as ds

from tests.times import without_times


def content(directory):
    """The sha256 of every file under a directory, by its name; without times."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): _sha256(path) for path in files}


def _sha256(path):
    return hashlib.sha256(without_times(path.name, path.read_bytes())).hexdigest()


def ledger(directory):
    """The rows of the ledger, in the order of the input."""
    rows = ds.dataset(directory / "samples").to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["shard"], row["offset"]))
