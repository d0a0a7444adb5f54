"""WriteReport: the report of a job that has come to its end; its passes over the ledger by all workers."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam

from beam_curator import process_tuning
from beam_curator.phases import REPORTING
from beam_curator.progress import BOARD
from beam_curator.report.figures import Counted, keepers_after
from beam_curator.report.ledger_files import LedgerFiles, files_of_ledger
from beam_curator.report.passes import Pass, passed_over
from beam_curator.report.tally import survey_of, tally_after
from beam_curator.report.writing import checked_job, write_counted
from beam_curator.transforms.beams_own import inner_steps_untyped
from beam_curator.transforms.held_rows import HeldFiles, held_files
from beam_curator.transforms.work_ahead import WorkAhead

# Passes travel pickled: Beam asks for the size of what travels, again and again, and of objects walks through them.

ROWS_TOGETHER = 1_000_000
"""About so many rows one worker passes over at a time, as far as files of the ledger are not larger; two share fewer.
To send on and to merge what a group has counted takes about as long as counting 100,000 rows."""

_AT_ONCE = 2
"""So many groups a worker passes over at a time, and so many there are where all rows are held by one."""

_Job = dict[str, Any]
_Group = LedgerFiles | HeldFiles
_Begun = tuple[_Group, bytes]


@beam.typehints.with_input_types(_Job)
@beam.typehints.with_output_types(_Job)
class WriteReport(beam.PTransform):
    """Takes the manifest of a job that has come to its end, as `WriteShards` gives it, and gives it once the report is
    written: the same bytes as `report.writing.write_report`, on any runner and whatever the groups of files."""

    def __init__(self, output: str, rows_together: int = ROWS_TOGETHER) -> None:
        """Takes the output directory, and about how many rows a worker passes over at a time."""
        super().__init__()
        self._output, self._rows_together = output.rstrip("/") or output, rows_together

    def expand(self, manifests: beam.PCollection[_Job]) -> beam.PCollection[_Job]:
        job = manifests | "ReadManifest" >> beam.Map(_job, self._output).with_output_types(_Job)
        files = _spread("Files", job, self._output, self._rows_together, False)
        found = _spread("Rows", job, self._output, self._rows_together, True)
        survey = _passed("Survey", found, job | "BeginSurvey" >> beam.Map(_survey).with_output_types(bytes))
        begun = survey | "BeginTally" >> beam.Map(_tally, self._output).with_output_types(bytes)
        tally = _passed("Tally", found, begun)
        keepers = _passed("Keepers", files, tally | "BeginKeepers" >> beam.Map(_keepers).with_output_types(bytes))
        counted = map(beam.pvalue.AsSingleton, (survey, tally, keepers))
        return manifests | "WritePage" >> beam.Map(_write, self._output, *counted).with_output_types(_Job)


def _survey(manifest: _Job) -> bytes:
    return pickle.dumps(survey_of(manifest))


def _tally(survey: bytes, output: str) -> bytes:
    return pickle.dumps(tally_after(pickle.loads(survey), checked_job(output)))


def _keepers(tally: bytes) -> bytes:
    return pickle.dumps(keepers_after(pickle.loads(tally)))


def _job(_: _Job, output: str) -> _Job:
    BOARD.enter(REPORTING)
    return dict(checked_job(output))


def _spread(
    name: str, job: beam.PCollection[_Job], output: str, rows_together: int, may_be_held: bool
) -> beam.PCollection[_Group]:
    """The ledger's rows in groups, on all workers."""
    return (
        job
        | f"Group{name}" >> beam.FlatMap(_groups, output, rows_together, may_be_held).with_output_types(_Group)
        | f"Spread{name}" >> beam.Reshuffle().with_output_types(_Group)
    )


def _groups(manifest: _Job, output: str, rows_together: int, may_be_held: bool) -> Sequence[_Group]:
    """Groups the rows of the ledger that are held, if they may be; else its files."""
    ledger = files_of_ledger(output)
    held = held_files(ledger, _AT_ONCE) if may_be_held else []
    groups = max(_AT_ONCE, -(-manifest["counts"]["seen"] // rows_together))
    return held or ledger.groups(max(1, -(-len(ledger.urls) // groups)))


def _write(manifest: _Job, output: str, *counted: bytes) -> _Job:
    BOARD.enter(REPORTING)
    write_counted(output, Counted(*map(pickle.loads, counted)))
    return manifest


def _passed(name: str, groups: beam.PCollection[_Group], begun: beam.PCollection[bytes]) -> beam.PCollection[bytes]:
    """Makes one pass over all rows, on all workers; gives the passes of all groups, merged into one.

    Args:
      name: of the pass.
      groups: of rows.
      begun: the pass before its first row.
    """
    parts = (
        groups
        | f"Begin{name}Of" >> beam.Map(_with, beam.pvalue.AsSingleton(begun)).with_output_types(_Begun)
        | name >> beam.ParDo(_PassOver()).with_output_types(bytes)
    )
    with inner_steps_untyped(parts.pipeline):
        return parts | f"Merge{name}" >> beam.CombineGlobally(Merge()).without_defaults().with_output_types(bytes)


def _with(group: _Group, begun: bytes) -> _Begun:
    return group, begun


class _PassOver(WorkAhead[_Begun, bytes]):
    """Passes over some groups at a time: much of it lets go of Python's lock."""

    def __init__(self) -> None:
        super().__init__()
        self._tuned = process_tuning.is_on()

    def setup(self) -> None:
        process_tuning.turn_on(self._tuned)
        process_tuning.keep_freed_memory()  # a column that is decoded takes some pages, and leaves them at once
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="report")

    def start(self, element: _Begun) -> Callable[[], bytes]:
        BOARD.enter(REPORTING)
        return self._pool.submit(_pass_over, *element).result

    def teardown(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _pass_over(group: _Group, begun: bytes) -> bytes:
    one: Pass = pickle.loads(begun)
    return pickle.dumps(passed_over(group, one))


class Merge(beam.CombineFn):
    """Merges passes over different rows, in any order; gives the pickled one of all."""

    def create_accumulator(self) -> Pass | None:
        return None

    def add_input(self, total: Pass | None, one: bytes) -> Pass:
        """Adds a pickled one."""
        return _merged(total, pickle.loads(one))

    def compact(self, total: Pass | bytes | None) -> bytes | None:
        return pickle.dumps(total) if isinstance(total, Pass) else total

    def merge_accumulators(self, totals: Iterable[Pass | bytes | None]) -> Pass | None:
        together: Pass | None = None
        for one in totals:
            if one is not None:
                together = _merged(together, pickle.loads(one) if isinstance(one, bytes) else one)
        return together

    def extract_output(self, total: Pass | bytes | None) -> bytes | None:
        return self.compact(total)


def _merged(total: Pass | None, one: Pass) -> Pass:
    if total is None:
        return one
    total.merge(one)
    return total
