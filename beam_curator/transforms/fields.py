"""AddFields: the fields of samples' metadata that rules look at, as columns of the batches of a finished range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import apache_beam as beam
import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import JobError, UsageError
from beam_curator.field_tally import FieldsFound, sum_fields
from beam_curator.output.field_store import in_types, read_fields
from beam_curator.rules.fields_wanted import FieldsWanted
from beam_curator.samples import SampleBatch
from beam_curator.transforms.beams_own import inner_steps_untyped

Types = dict[str, str | None]
"""What each column holds in the whole job; None of one that no sample has."""


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

    What a column holds follows from all samples, so all are scored before the first is selected. Other fields stay
    where they are until the ledger is written.

    Args:
      output: the output directory, whose `fields/` has them.
      wanted: which.
    """

    def __init__(self, output: str, wanted: FieldsWanted) -> None:
        super().__init__()
        self._output, self._wanted = output, wanted

    def expand(self, batches: beam.PCollection[SampleBatch]) -> beam.PCollection[SampleBatch]:
        met = batches | "Met" >> beam.Map(_met).with_output_types(FieldsFound)
        with inner_steps_untyped(batches.pipeline):
            total = met | "SumMet" >> beam.CombineGlobally(_sum)
        types = total | "Types" >> beam.Map(_types, self._wanted).with_output_types(Types)
        adding = beam.Map(add_fields, self._output, beam.pvalue.AsSingleton(types))
        return batches | "Add" >> adding.with_output_types(SampleBatch)
