"""The report that a pipeline writes: of files in groups, whose passes are merged."""

import json

import pyarrow as pa
import pytest

from beam_curator import rows
from beam_curator.commands.failures import as_job_error
from beam_curator.errors import JobError
from beam_curator.output import ledger
from beam_curator.progress import BOARD
from beam_curator.report.writing import write_report
from beam_curator.transforms.held_rows import held_rows, hold
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


def test_rows_that_the_job_has_just_written_are_counted_as_those_of_files(tmp_path, monkeypatch):
    fields = [("language", rows.SCORE), ("json.licence", rows.CARRIED), ("json.n", rows.CARRIED)]
    carried = []
    for table in drawn_rows(900, per_file=150):
        texts = pa.array((["l1", None, "l2", ""] * 200)[: len(table)])
        for name, role in fields:
            values = pa.array(range(len(table))) if name == "json.n" else texts
            table = table.append_column(rows.field_of(name, values.type, role), values)
        carried.append(table)
    write_job(tmp_path, carried)
    write_report(str(tmp_path))
    written = [(tmp_path / name).read_bytes() for name in ("report.html", "report.json")]
    asked = []
    monkeypatch.setattr("beam_curator.report.ledger_files._read_part", lambda url, *_: asked.append(url))
    with spilled_to_disk(holds=True):
        for path in (tmp_path / "samples").iterdir():
            hold(f"samples/{path.name}", ledger.read_table(str(path)))
        for name in ("report.html", "report.json"):
            (tmp_path / name).unlink()
        eager(WriteReport(str(tmp_path), 400), [manifest_of(tmp_path)])
    assert [(tmp_path / name).read_bytes() for name in ("report.html", "report.json")] == written
    assert not asked


def test_nothing_is_held_where_nobody_asks_for_it():
    for holds in (False, True):
        with spilled_to_disk(holds):
            hold("samples/a.parquet", drawn_rows(5)[0])
            assert (held_rows()("x/samples/a.parquet") is not None) is holds
            assert held_rows()("x/samples/b.parquet") is None
        hold("samples/a.parquet", drawn_rows(5)[0])
        assert held_rows()("x/samples/a.parquet") is None


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
