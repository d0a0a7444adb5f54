"""Ranges of a ledger as workers write them, to be joined: of several shards, many samples and none, odd columns."""

import pyarrow as pa

from beam_curator import rows
from beam_curator.output import ledger
from beam_curator.output.compaction import write_piece
from beam_curator.samples import Sample, Shard, ShardRange

URLS = [f"/raw/{name}.tar" for name in "abcd"]


def range_of(number):
    return ShardRange(Shard(URLS[number // 3], 90), number % 3, number % 3 + 1, number % 3, last=True)


def rows_of(number, samples):
    """A ledger's rows of a range, of which every second one is kept."""
    of = range_of(number)
    given = [Sample(f"{number}-{index}", index, 1, {}) for index in range(samples)]
    table = rows.from_samples(of, given, [f"caption {index}" for index in range(samples)])
    table = rows.with_column(table, "status", [rows.KEPT if (number + n) % 2 else "dropped" for n in range(samples)])
    nowhere = pa.nulls(samples, pa.string())
    return ledger.ledger_table(table, nowhere, nowhere)


def of_other_columns(table, number):
    """Adds columns as steps of the user's own, scorers and fields may, to some ranges and not to others."""
    fields = {
        0: ("json.url", pa.array([f"u{n}" for n in range(len(table))])),
        1: ("mine", pa.nulls(len(table))),
        2: ("mine", pa.array([1 + n for n in range(len(table))])),
        3: ("mine", pa.array([0.5 + n for n in range(len(table))])),
    }
    return table.append_column(*fields[number % 5]) if number % 5 in fields else table


TABLES = [of_other_columns(rows_of(number, samples), number) for number, samples in enumerate([3, 0, 4, 2, 5, 1, 3])]


def pieces(output, tables=TABLES, first=0):
    return [write_piece(str(output), range_of(n), n, table) for n, table in enumerate(tables, first)]
