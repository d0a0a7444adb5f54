"""Counts how many samples other thresholds of duplicates would keep, of the samples that the rules kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beam_curator.duplicates.settings import EXACT, settings_of_flags
from beam_curator.errors import UsageError
from beam_curator.output.duplicate_curve import competing, kept_curves, wanted_columns
from beam_curator.report.ledger_files import LedgerFiles


def duplicate_curves(ledger: LedgerFiles, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The curve of each kind that has a threshold, as JSON has it; none where no duplicates were looked for.

    Raises:
      StorageError, JobError: when the ledger cannot be read.
      StorageError: when the edges, or another output that it was compared with, cannot be.
    """
    try:
        settings = settings_of_flags(manifest.get("flags") or {})
    except UsageError:  # flags of a release that took others
        return []
    if settings is None or set(settings.kinds) == {EXACT}:
        return []
    ranges = [competing(name, table, settings) for name, table in ledger.ranges(wanted_columns)]
    return [one.as_json for one in kept_curves(ledger.output, settings, ranges)] if ranges else []
