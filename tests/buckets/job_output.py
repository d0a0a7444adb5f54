"""The job that the tests here run, and what of its output is compared."""

import io
import re
import tarfile

import pyarrow.parquet as pq

from tests.times import without_times

TINY = ["--clip_model", "tiny-untrained", "--min_width", "64", "--samples_per_shard", "12", "--range_mb", "0.5"]


def without_timings(contents):
    """Files by name, but for what manifest and report say of this one run."""
    return {name: without_times(name, content) for name, content in contents.items()}


def comparable(contents):
    """Takes what does not depend on where the input is: the shards' members but for the records, whose uids are made of
    urls, and embeddings, scores and facts of every sample, in the order of the ledger."""
    members = {name: _members(content) for name, content in contents.items() if name.endswith(".tar")}
    tables = [
        (name, pq.read_table(io.BytesIO(c))) for name, c in contents.items() if re.match(r"scores/|samples/", name)
    ]
    rows = sorted(
        (name[:7], row["shard"].rpartition("/")[2], row["offset"], str(_without_urls(row)))
        for name, table in tables
        for row in table.to_pylist()
    )
    return members, rows


def _members(tar):
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return [(m.name, opened.extractfile(m).read()) for m in opened if not m.name.endswith("curation.json")]


def _without_urls(row):
    return {name: value for name, value in row.items() if name not in ("uid", "shard")}
