"""The report that a pipeline writes: of files in groups, whose passes are merged."""

import json

import pyarrow as pa
import pytest

from beam_curator import rows
from beam_curator.commands.failures import as_job_error
from beam_curator.errors import JobError
from beam_curator.output import ledger
from beam_curator.progress import BOARD
from beam_curator.report.ledger_files import files_of_ledger
from beam_curator.report.writing import write_report
from beam_curator.transforms import held_rows
from beam_curator.transforms.held_rows import HeldRows, held_files, hold
from beam_curator.transforms.reporting import WriteReport
from beam_curator.transforms.spilling import spilled_to_disk
from tests.eager import eager
from tests.report.ledgers import drawn_rows, write_job


def manifest_of(output):
    return json.loads((output / "manifest.json").read_text())


def test_a_pipeline_writes_what_one_process_writes_and_gives_the_manifest(tmp_path):
    write_job(tmp_path, drawn_rows(900, per_file=150))
    write_report(str(tmp_path))
    written = [(tmp_path / name).read_bytes() for name in ("report.html", "report.json")]
    for rows_together in (1, 400):
        for name in ("report.html", "report.json"):
            (tmp_path / name).unlink()
        BOARD.reset()
        assert eager(WriteReport(str(tmp_path), rows_together), [manifest_of(tmp_path)]) == [manifest_of(tmp_path)]
        assert [(tmp_path / name).read_bytes() for name in ("report.html", "report.json")] == written
        assert BOARD.read().phase == "writing the report"


def carried_rows():
    """Tables of 150 rows, the second and fifth with one field more than others."""
    fields = [("language", rows.SCORE), ("json.licence", rows.CARRIED), ("json.n", rows.CARRIED)]
    for number, table in enumerate(drawn_rows(900, per_file=150)):
        texts = pa.array((["l1", None, "l2", ""] * 200)[: len(table)])
        for name, role in fields[: 3 if number in (1, 4) else 2]:
            values = pa.array(range(len(table))) if name == "json.n" else texts
            table = table.append_column(rows.field_of(name, values.type, role), values)
        yield table


@pytest.mark.parametrize("together", [1, 200, 1 << 15])
@pytest.mark.parametrize("rows_together", [1, 400])
def test_rows_that_the_job_has_just_written_are_counted_as_those_of_files(
    tmp_path, monkeypatch, together, rows_together
):
    monkeypatch.setattr(held_rows, "ROWS_TOGETHER", together)
    write_job(tmp_path, list(carried_rows()))
    write_report(str(tmp_path))
    written = [(tmp_path / name).read_bytes() for name in ("report.html", "report.json")]
    asked = []
    monkeypatch.setattr("beam_curator.report.ledger_files._read_part", lambda url, *_: asked.append(url))
    paths = sorted((tmp_path / "samples").iterdir())
    with spilled_to_disk(HeldRows()):
        for path in [*paths[3:], *paths[:3]]:
            hold(f"samples/{path.name}", ledger.read_table(str(path)))
        for name in ("report.html", "report.json"):
            (tmp_path / name).unlink()
        eager(WriteReport(str(tmp_path), rows_together), [manifest_of(tmp_path)])
    assert [(tmp_path / name).read_bytes() for name in ("report.html", "report.json")] == written
    assert not asked


def test_rows_are_held_where_somebody_asks_for_them_and_all_are_there_once(tmp_path):
    write_job(tmp_path, drawn_rows(300, per_file=150))
    files = files_of_ledger(str(tmp_path))
    names = [f"samples/{url.rpartition('/')[2]}" for url in files.urls]
    table = drawn_rows(5)[0]
    for held, given, is_whole in [
        (HeldRows(), names, True),
        (HeldRows(), names[1:], False),
        (HeldRows(), [*names, names[0]], False),
        (None, names, False),
    ]:
        with spilled_to_disk(held):
            for name in given:
                hold(name, table)
            assert bool(held_files(files, 2)) is is_whole
        assert not held_files(files, 2)


def test_a_ledger_that_is_not_the_manifests_is_told_in_one_line(tmp_path):
    write_job(tmp_path, drawn_rows(300, per_file=150))
    (tmp_path / "samples" / "part-0000000001-00000.parquet").unlink()
    with pytest.raises(JobError) as alone:
        write_report(str(tmp_path))
    with pytest.raises(Exception, match="the ledger has") as raised:
        eager(WriteReport(str(tmp_path)), [manifest_of(tmp_path)])
    told = as_job_error(raised.value, str(tmp_path))
    assert isinstance(told, JobError)
    assert str(told) == str(alone.value)
    for one in (tmp_path / "samples").iterdir():
        one.unlink()
    with pytest.raises(Exception, match="the ledger has 0 kept, 0 dropped, 0 failed"):
        eager(WriteReport(str(tmp_path)), [manifest_of(tmp_path)])
