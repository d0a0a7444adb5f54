"""The second pass over the ledger: what is counted between cuts that follow from the first, and the samples shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_curator import rows
from beam_curator.report.columns import NEEDED, behind
from beam_curator.report.copies import Copies
from beam_curator.report.edges import edges_of
from beam_curator.report.histograms import Histogram
from beam_curator.report.passes import Pass
from beam_curator.report.repeats import Repeats
from beam_curator.report.sheets import Sheets
from beam_curator.report.survey import Survey
from beam_curator.report.thresholds import Threshold, thresholds_of
from beam_curator.report.view import View
from beam_curator.report.what_if import WhatIf, axes_of, edge_of

MOST_MEASURES = 40
"""So many columns are shown; the ledger has all of them."""


@dataclasses.dataclass
class Tally(Pass):
    """The second pass.

    Attributes:
      thresholds: those that the ledger follows.
      histograms: of each measure that is shown, in their order.
      what_if: of the thresholds that can be moved.
      sheets: the samples that they show.
      copies: the duplicates that are shown.
      repeats: the commonest texts of columns.
    """

    thresholds: Sequence[Threshold]
    histograms: dict[str, Histogram]
    what_if: WhatIf
    sheets: Sheets
    copies: Copies
    repeats: dict[str, Repeats]

    def columns(self, schema: pa.Schema) -> list[str]:
        copies = ["duplicate_of", *rows.DUPLICATE.names] if self.copies.any else []
        return [*NEEDED, *(column for name in (*self.histograms, *self.repeats) for column in behind(name)), *copies]

    def add(self, view: View) -> None:
        self.what_if.add(view)
        self.sheets.add(view)
        self.copies.add(view)
        for name, texts in self.repeats.items():
            texts.add(view, name)
        for name, histogram in self.histograms.items():
            histogram.add(view.places(name, histogram.edges), view.statuses)

    def merge(self, other: Tally) -> None:
        self.what_if.merge(other.what_if)
        self.sheets.merge(other.sheets)
        self.copies.merge(other.copies)
        for name, texts in self.repeats.items():
            texts.merge(other.repeats[name])
        for name, histogram in self.histograms.items():
            histogram.merge(other.histograms[name])


def tally_after(survey: Survey, manifest: Mapping[str, Any]) -> Tally:
    """The second pass, before its first row.

    Args:
      survey: the whole first pass.
      manifest: of the job.

    Raises:
      JobError: when the ledger is another than the manifest tells of.
    """
    survey.check(manifest)
    measures = _measures(survey, {one.column for one in survey.thresholds})
    thresholds = [one for one in survey.thresholds if one.column in measures and one not in survey.wrong]
    edges = {
        name: edges_of(survey.spreads[name], [edge_of(one) for one in thresholds if one.column == name])
        for name in measures
    }
    ruled = {one.column for one in thresholds}
    scores = [name for name in measures if survey.role_of(name) == rows.SCORE]
    more = [name for name in scores if name not in ruled and edges[name]]
    what_if = WhatIf(thresholds, axes_of(thresholds, edges, more))
    reasons = {status: survey.reasons(status) for status in (rows.DROPPED, rows.FAILED)}
    buckets = sorted(survey.buckets, key=survey.texts.__getitem__)
    return Tally(
        thresholds,
        {name: Histogram(edges[name]) for name in measures},
        what_if,
        Sheets(thresholds, scores, reasons),
        Copies(survey.keepers.biggest()),
        {name: found for name in buckets if (found := survey.buckets[name].fullest()) is not None},
    )


def columns_counted(schema: pa.Schema) -> set[str]:
    """The columns of files with this schema that both passes look at, whatever the first one finds."""
    return {*Survey().columns(schema), *NEEDED, *rows.DUPLICATE.names}


def survey_of(manifest: Mapping[str, Any]) -> Survey:
    """The first pass, before its first row."""
    return Survey(thresholds_of(manifest))


def _measures(survey: Survey, ruled: Collection[str]) -> list[str]:
    """Chooses the measures that are shown: scores first, then facts, then what samples brought with them; as far as
    there are values. Of many the first, and those that rules look at."""
    order = (rows.SCORE, rows.FACT, rows.CARRIED)
    there = sorted((name for name, spread in survey.spreads.items() if spread.total), key=survey.roles.__getitem__)
    ordered = sorted(there, key=lambda name: order.index(survey.role_of(name)))
    return [name for place, name in enumerate(ordered) if place < MOST_MEASURES or name in ruled]
