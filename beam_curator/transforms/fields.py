"""AddFields: the fields of samples' metadata that rules look at, as columns of the batches of a finished range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import apache_beam as beam
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import JobError, UsageError
from beam_curator.field_tally import FieldsFound, sum_fields
from beam_curator.output.field_store import in_types, read_fields
from beam_curator.output.manifest import MANIFEST
from beam_curator.output.score_steps import Wanted
from beam_curator.output.whole_rows import with_all_columns
from beam_curator.rules.fields_wanted import FieldsWanted
from beam_curator.rules.waiting import waiting_rows
from beam_curator.samples import SampleBatch
from beam_curator.transforms.beams_own import Once, total_aside

Types = dict[str, str | None]
"""The type of each column in the whole job; None of one that no sample has."""


def add_fields(batch: SampleBatch, output: str, types: Mapping[str, str | None]) -> SampleBatch:
    """The batch with these columns, read from where its fields are kept.

    Raises:
      StorageError: when they cannot be read, after retries.
    """
    known = {name: type for name, type in types.items() if type is not None}
    has_any = known and batch.fields is not None and batch.fields.types
    found = read_fields(output, batch.range, known) if has_any else in_types(pa.table({}), known, len(batch))
    table = rows.with_fields(batch.rows, found)
    for name in types.keys() - known.keys():
        table = table.append_column(rows.field_of(name, pa.null(), rows.CARRIED), pa.nulls(len(table)))
    return batch.replace(rows=table)


def add_known_fields(batch: SampleBatch, output: str, types: Types, found: FieldsFound) -> SampleBatch:
    """Does what `add_fields` does, where the manifest of a finished job says which fields there are in all of the
    input.

    Raises:
      JobError: where a batch has what was not met.
    """
    if batch.fields is not None and (found + batch.fields).types != found.types:
        raise JobError(
            f"{batch.range.url}: its fields hold other things than {MANIFEST} of {output} says: remove that file, and "
            "run the same command again"
        )
    return add_fields(batch, output, types)


def _waiting(batch: SampleBatch) -> SampleBatch:
    return batch.replace(rows=waiting_rows(batch.rows))


def _read_and_add(batch: SampleBatch, parts: Wanted, output: str, types: Types) -> SampleBatch:
    return add_fields(with_all_columns(batch, parts), output, types)


def _met(batch: SampleBatch) -> FieldsFound:
    return batch.fields or FieldsFound()


def _sum(found: Iterable[FieldsFound]) -> FieldsFound:
    return sum_fields(found)


def _types(found: FieldsFound, wanted: FieldsWanted) -> Types:
    try:
        wanted.check_there(found.types)
    except UsageError as error:
        raise JobError(f"{error} (scores are kept)") from error
    return wanted.types(found.types)


@beam.typehints.with_input_types(SampleBatch)
@beam.typehints.with_output_types(SampleBatch)
class AddFields(beam.PTransform):
    """Gives batches whose scores are written the fields that a selection looks at: takes and gives `SampleBatch`.

    What a column holds follows from all samples, so all are scored before the first is selected, unless a finished job
    says it: then rows wait for nothing. Those that wait leave their columns in the score parts, and have them read
    again. Other fields stay where they are until the ledger is written.

    Args:
      output: the output directory, whose `fields/` has them.
      wanted: which.
      parts: what the job wants of each range, by which its parts are read again.
    """

    def __init__(self, output: str, wanted: FieldsWanted, parts: Wanted) -> None:
        super().__init__()
        self._output, self._wanted, self._parts = output, wanted, parts

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        found = self._wanted.found
        if found is not None:
            known = beam.Map(add_known_fields, self._output, self._wanted.types(found.types), found)
            return batches | "AddKnown" >> known.with_output_types(SampleBatch)
        met = batches | "Met" >> beam.Map(_met).with_output_types(FieldsFound)
        total = total_aside(_sum, met, "SumMet")
        types = batches.pipeline | "Types" >> Once(Types, _types, total, self._wanted)
        adding = beam.Map(_read_and_add, self._parts, self._output, beam.pvalue.AsSingleton(types))
        waiting = batches | "LeaveColumns" >> beam.Map(_waiting).with_output_types(SampleBatch)
        return waiting | "Add" >> adding.with_output_types(SampleBatch)
