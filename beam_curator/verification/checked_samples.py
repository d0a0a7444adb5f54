"""What checks of duplicates look at: all rows of the ledger, and of other outputs."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from beam_curator.duplicates.competitors import Samples
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.output.stored_vectors import StoredVectors
from beam_curator.verification.differences import shown


@dataclasses.dataclass
class CheckedSamples:
    """All samples that the job compared, with what decided.

    Attributes:
      samples: those of other outputs first, with what their ledgers tell of duplicates.
      settings: what the job took for a duplicate.
      vectors: their embeddings.
    """

    samples: Samples
    settings: DuplicateSettings
    vectors: StoredVectors

    @property
    def table(self) -> pa.Table:
        """A row for each sample."""
        return self.samples.table

    def name(self, row: int) -> str:
        """What messages call the sample of a row."""
        return shown(self.table["sample_id"][row].as_py())
