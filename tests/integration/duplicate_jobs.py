"""Shares among tests of duplicates in whole jobs: flags, rows of the ledger, and the verifier."""

import pyarrow as pa
import pyarrow.parquet as pq

from beam_curator.commands import verify_output

ALL_KINDS = ("--duplicates", "exact,perceptual,semantic", "--duplicate_cosine", "0.999")
KEEP_ALL = ("--min_aesthetic", "none", "--max_nsfw", "none")


def verified(output, capsys):
    """The exit code of the verifier, and what it said."""
    capsys.readouterr()
    code = verify_output.main([str(output)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def changed_ledger(output, change):
    """Changes the rows of each ledger file: a list of dicts to a list of dicts."""
    for path in sorted((output / "samples").glob("*.parquet")):
        table = pq.read_table(path)
        pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), table.schema), path)


def rows_of(output):
    return [row for path in sorted((output / "samples").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
