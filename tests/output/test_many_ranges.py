"""Files of the ledger that hold many ranges: what goes in comes out, range by range, and joining may be done again."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_curator import rows
from beam_curator.errors import JobError, StorageError
from beam_curator.output import compaction, ledger, many_ranges
from beam_curator.output.compaction import join
from beam_curator.output.many_ranges import ManyRanges, tables_of
from beam_curator.output.standing_ledger import StandingLedger
from beam_curator.report.ledger_files import LedgerFiles
from beam_curator.storage import retrying
from beam_curator.storage.retrying import naming
from tests.http_error import HttpError
from tests.ledger_pieces import TABLES, pieces, range_of, rows_of


@pytest.fixture
def joined(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS_PER_GROUP", 6)
    assert join(str(tmp_path), 0, reversed(pieces(tmp_path))) == "samples/ledger-000000.parquet"
    return tmp_path / "samples" / "ledger-000000.parquet"


def test_each_range_comes_out_as_it_went_in_and_others_read_all_of_them(joined):
    found = list(tables_of(str(joined)))
    assert [name for name, _ in found] == [range_of(number).name for number in range(len(TABLES))]
    for (_, table), due in zip(found, TABLES, strict=True):
        assert table.schema.equals(due.schema, check_metadata=True)
        assert table.equals(due)
    whole = pq.read_table(joined)
    assert whole["sample_id"].to_pylist() == [one for table in TABLES for one in table["sample_id"].to_pylist()]
    assert whole["json_url"].to_pylist()[:4] == ["u0", "u1", "u2", None]
    groups = pq.read_metadata(joined)
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [7, 7, 4]


def test_a_text_that_is_none_any_more_is_told_by_the_file(joined):
    metadata = pq.ParquetFile(joined).schema_arrow.metadata
    whole = pq.read_table(joined).replace_schema_metadata(metadata)
    pq.write_table(whole, joined, row_group_size=7, compression="none", use_dictionary=False)
    assert len(list(tables_of(str(joined)))) == len(TABLES)
    joined.write_bytes(joined.read_bytes().replace(b"u1", b"u\xee"))
    with pytest.raises(StorageError, match=rf"{joined} is damaged \(.*UTF.*\): remove it, and run its job again"):
        list(tables_of(str(joined)))


def test_a_row_group_is_read_once_also_where_its_ranges_have_different_columns(joined, monkeypatch):
    read, groups = many_ranges._read_group, []
    monkeypatch.setattr(many_ranges, "_read_group", lambda *given: groups.append(given[2]) or read(*given))
    file = ManyRanges(str(joined))
    wanted = ["key", "json.url", "mine"]
    for place, due in enumerate(TABLES):
        assert file.rows(place, wanted).equals(due.select([name for name in due.schema.names if name in wanted]))
    assert groups == [0, 1, 2]


def test_joining_again_gives_the_same_bytes_and_is_found_done_where_the_pieces_are_gone(joined, tmp_path):
    before, output = joined.read_bytes(), str(tmp_path)
    assert not list((tmp_path / "_tmp").iterdir())
    again = pieces(tmp_path)
    join(output, 0, again)
    assert joined.read_bytes() == before
    join(output, 0, again)  # a retry of what was done: the pieces are gone, the file stands
    assert joined.read_bytes() == before
    with pytest.raises(StorageError, match=r"cannot read .*_tmp/.*: no such file|No such file"):
        join(output, 0, again[:-1])  # gone as well, and the file that stands is of others


def test_a_piece_is_the_same_bytes_however_its_rows_lie_in_memory(tmp_path):
    whole = TABLES[4]
    cut = pa.concat_tables([whole.slice(0, 2), whole.slice(2)])
    assert pieces(tmp_path, [whole]) == pieces(tmp_path, [cut])
    assert len(list((tmp_path / "_tmp").iterdir())) == 1


def test_pieces_that_are_gone_from_a_bucket_are_found_joined_as_well(joined, tmp_path, monkeypatch):
    before, again = joined.read_bytes(), pieces(tmp_path)
    join(str(tmp_path), 0, again)

    def answered(url):
        with naming("read", url):
            raise HttpError(404)

    monkeypatch.setattr(compaction.files, "read_bytes", answered)
    assert join(str(tmp_path), 0, again) == "samples/ledger-000000.parquet"
    assert joined.read_bytes() == before


def test_a_file_that_lost_rows_or_does_not_say_its_ranges_is_no_ledger(joined):
    whole = pq.read_table(joined)
    for spoiled in (whole.slice(1), whole.replace_schema_metadata({})):
        pq.write_table(spoiled, joined)
        with pytest.raises(pa.ArrowInvalid, match="ranges"):
            ManyRanges(str(joined))


def overwrite(path, begin, end):
    content = path.read_bytes()
    path.write_bytes(content[:begin] + bytes([255]) * (end - begin) + content[end:])


def test_damage_is_told_at_once_and_what_is_no_ledger_is_passed_over_by_the_report(joined, tmp_path, monkeypatch):
    monkeypatch.setattr(retrying.CLOCK, "sleep", lambda seconds: pytest.fail("what is damaged is read again"))
    whole, begins = joined.read_bytes(), [pq.read_metadata(joined).row_group(n).column(0) for n in (1, 2)]
    ledger_files = LedgerFiles(str(tmp_path), [str(joined)])
    overwrite(joined, *(column.dictionary_page_offset or column.data_page_offset for column in begins))
    for read in (
        lambda: tables_of(str(joined)),
        lambda: ledger_files.tables(lambda schema: schema.names),
        lambda: ledger_files.ranges(lambda schema: schema.names),
        lambda: ledger_files.rows({0: [13]}, lambda schema: schema.names),
    ):
        with pytest.raises(StorageError, match=f"^{joined} is damaged "):
            list(read())
    joined.write_bytes(whole)
    overwrite(joined, len(whole) - 100, len(whole) - 8)
    with pytest.raises(pa.ArrowException):
        ManyRanges(str(joined))
    assert list(ledger_files.tables(lambda schema: schema.names)) == []


def test_a_file_that_cannot_be_read_is_not_passed_over(joined, tmp_path):
    ledger_files = LedgerFiles(str(tmp_path), [str(joined)])
    joined.unlink()
    for read in (ledger_files.tables, ledger_files.ranges):
        with pytest.raises(StorageError, match="cannot read"):
            list(read(lambda schema: schema.names))


def test_columns_of_one_name_and_types_that_nothing_holds_are_told_with_what_to_do(tmp_path):
    text = TABLES[1].append_column("mine", pa.array([], pa.string()))
    large = rows_of(1, 1).append_column("mine", pa.array([(1 << 53) + 1]))  # which no double holds
    for tables in ([text, TABLES[2]], [large, TABLES[3]]):
        of = pieces(tmp_path, tables)
        with pytest.raises(JobError, match=r"columns of one name and of different types .*--ranges_per_ledger_file 1"):
            join(str(tmp_path), 0, of)


def test_the_standing_ledger_is_asked_in_order_and_again_from_the_beginning(tmp_path):
    of = pieces(tmp_path)
    for index, some in enumerate([of[:2], of[2:4], of[5:]]):
        join(str(tmp_path), index, some)
    for _ in range(2):
        standing = StandingLedger(str(tmp_path))
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 0, 5]:
            kept = standing.kept(range_of(number))
            if number in (4, 7):
                assert kept is None
            else:
                assert kept.tolist() == rows.status_is(TABLES[number], rows.KEPT).tolist()


def test_the_report_reads_row_groups_and_finds_each_row_in_its_range(joined, tmp_path):
    files = LedgerFiles(str(tmp_path), [str(joined)])
    (run,) = files.tables(lambda schema: ["sample_id", "mine"])
    assert [tuple(piece) for piece in run.pieces] == [(0, 0, 0), (7, 0, 7), (14, 0, 14)]
    ids = run.table["sample_id"].to_pylist()
    wanted = [17, 0, 8, 7]
    ((file, rows_found),) = files.rows({0: wanted}, lambda schema: schema.names)
    assert file == 0
    for number, found in zip(wanted, rows_found, strict=True):
        assert found.table["sample_id"].to_pylist() == [ids[number]]
        table = TABLES[[range_of(n).name for n in range(7)].index(found.range)]
        assert found.table.equals(table.slice(found.row, 1))
    by_range = list(files.ranges(lambda schema: [name for name in ("key", "mine") if name in schema.names]))
    assert [table.schema.names for _, table in by_range] == [
        ["key", *(["mine"] if "mine" in table.schema.names else [])] for table in TABLES
    ]


def test_few_ranges_have_a_file_each_unless_the_user_says_how_many(tmp_path):
    assert [ledger.ranges_per_file(n) for n in (0, 1, 10_000, 10_001, 10_000_000)] == [1, 1, 1, 1000, 1000]
    assert [ledger.ranges_per_file(n, 3) for n in (1, 10_000_000)] == [3, 3]
