"""All figures of a report, as JSON has them: from two passes over the ledger, and from the manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_curator import rows
from beam_curator.errors import JobError
from beam_curator.report.columns import NEEDED, behind, categories_in, numbers_in
from beam_curator.report.copies import Copies, KeeperCounts, Keepers, id_column
from beam_curator.report.duplicate_curves import duplicate_curves
from beam_curator.report.edges import edges_of
from beam_curator.report.flow import flow_of
from beam_curator.report.histograms import Histogram
from beam_curator.report.how import (
    command_of,
    doubts_about,
    flags_told,
    models_told,
    one_liners,
    times_of,
    untrained_in,
)
from beam_curator.report.ledger_files import LedgerFiles
from beam_curator.report.repeats import Repeats, repeated_columns
from beam_curator.report.sheets import Sheets
from beam_curator.report.shown import NSFW, Shown, veil_limit
from beam_curator.report.survey import FEW, RATIOS, SIDES, Category, Survey, survey
from beam_curator.report.thresholds import AT_LEAST, Threshold, thresholds_of
from beam_curator.report.thumbnails import Wanted
from beam_curator.report.view import View
from beam_curator.report.what_if import WhatIf, axes_of, edge_of

FORMAT = 1
"""Goes up when figures are called otherwise than before."""

MOST_MEASURES = 40
"""So many columns are shown; the ledger has all of them."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """All that a report holds but its pictures.

    Attributes:
      told: the figures, as JSON has them.
      wanted: for the picture of each of `told["samples"]`.
    """

    told: dict[str, Any]
    wanted: Sequence[Wanted]


def figures_of(ledger: LedgerFiles, manifest: Mapping[str, Any]) -> Figures:
    """The figures of a finished job.

    Raises:
      StorageError: when the ledger cannot be read.
      JobError: when it is not the one that the manifest tells of.
    """
    keepers = KeeperCounts()
    surveyed = survey(_surveyed(ledger, keepers))
    _check_counts(surveyed, manifest)
    found = thresholds_of(manifest)
    measures = _measures(surveyed, {one.column for one in found})
    thresholds = [one for one in found if one.column in measures]
    tallied = _tally(ledger, surveyed, measures, thresholds, keepers.biggest())
    measured = [_measure_told(name, surveyed, tallied, manifest) for name in measures]
    shown, pictured = _shown(ledger, tallied, measured)
    counts = manifest["counts"]
    told = {
        "format": FORMAT,
        "times": times_of(manifest),
        "counts": counts,
        "flow": [dataclasses.asdict(step) for step in flow_of(counts, _rule_names(manifest))],
        "rules": list(manifest.get("rules") or ()),
        "measures": measured,
        "what_if": tallied.what_if.told(surveyed.reasons(rows.DROPPED), manifest),
        "samples": shown.samples,
        "sheets": tallied.sheets.told(shown.number_of),
        "duplicates": {
            "groups_in_all": keepers.groups,
            "went_in_all": keepers.copies,
            "curves": duplicate_curves(ledger, manifest),
            **pictured,
        },
        "data": _data_told(surveyed, tallied, manifest),
        "how": _how_told(measures, surveyed, manifest),
    }
    return Figures(told, shown.wanted)


def _surveyed(ledger: LedgerFiles, keepers: KeeperCounts) -> Iterator[View]:
    for run in ledger.tables(_first_columns):
        view = View(*run)
        keepers.add(view)
        yield view


def _shown(
    ledger: LedgerFiles, tallied: Tallied, measured: Sequence[Mapping[str, Any]]
) -> tuple[Shown, dict[str, Any]]:
    """The samples that sheets and duplicates show, and the duplicates among them."""
    limits = [one for measure in measured if measure["name"] == NSFW for one in measure["thresholds"]]
    shown = Shown(veil_limit(limits))
    shown.add(ledger, [*tallied.sheets.places, *tallied.copies.places])
    names = {place: shown.keeper_names[place] for place in tallied.copies.places}
    keepers = Keepers(names.values())
    if names:
        for run in ledger.tables(lambda schema: [*NEEDED, id_column(schema)]):
            keepers.add(View(*run))
    keeper_of = {place: keepers.found.get(name) for place, name in names.items()}
    shown.add(ledger, [place for place in keeper_of.values() if place is not None])
    return shown, tallied.copies.told(shown.number_of, keeper_of)


@dataclasses.dataclass
class Tallied:
    """What the second pass counted.

    Attributes:
      histograms: of each measure.
      what_if: of the thresholds that can be moved.
      thresholds: those that the ledger follows.
      sheets: the samples that they show.
      copies: the duplicates that are shown.
      repeats: the commonest texts of columns.
    """

    histograms: dict[str, Histogram]
    what_if: WhatIf
    thresholds: Sequence[Threshold]
    sheets: Sheets
    copies: Copies
    repeats: Mapping[str, Repeats]


def _tally(
    ledger: LedgerFiles,
    surveyed: Survey,
    measures: Sequence[str],
    thresholds: Sequence[Threshold],
    biggest: Sequence[tuple[int, int]],
) -> Tallied:
    """The second pass; done again without a threshold that the ledger does not follow."""
    edges = {
        name: edges_of(surveyed.spreads[name], [edge_of(one) for one in thresholds if one.column == name])
        for name in measures
    }
    ruled = {one.column for one in thresholds}
    more = [name for name in measures if surveyed.roles[name] == rows.SCORE and name not in ruled and edges[name]]
    what_if = WhatIf(thresholds, axes_of(thresholds, edges, more))
    histograms = {name: Histogram(edges[name]) for name in measures}
    scores = [name for name in measures if surveyed.roles[name] == rows.SCORE]
    reasons = {status: surveyed.reasons(status) for status in (rows.DROPPED, rows.FAILED)}
    sheets, copies = Sheets(thresholds, scores, reasons), Copies(biggest)
    repeats = {name: found for name, one in surveyed.buckets.items() if (found := one.fullest()) is not None}
    for view in _views(ledger, [*measures, *repeats], bool(biggest)):
        what_if.add(view)
        sheets.add(view)
        copies.add(view)
        for name, texts in repeats.items():
            texts.add(view, name)
        for name, histogram in histograms.items():
            histogram.add(view.places(name, histogram.edges), view.kept, view.failed)
    if what_if.wrong:
        followed = [one for one in thresholds if one not in what_if.wrong]
        return _tally(ledger, surveyed, measures, followed, biggest)
    return Tallied(histograms, what_if, thresholds, sheets, copies, repeats)


def _views(ledger: LedgerFiles, measures: Sequence[str], has_copies: bool) -> Iterator[View]:
    copies = ["duplicate_of", *rows.DUPLICATE.names] if has_copies else []
    wanted = [*NEEDED, *(column for name in measures for column in behind(name)), *copies]
    return (View(*run) for run in ledger.tables(lambda _: wanted))


def _first_columns(schema: pa.Schema) -> list[str]:
    """What the survey looks at."""
    measured = [column for name in numbers_in(schema) for column in behind(name)]
    return [*NEEDED, *measured, *categories_in(schema), *repeated_columns(schema), "duplicate_of"]


def _check_counts(surveyed: Survey, manifest: Mapping[str, Any]) -> None:
    told = {status: (manifest.get("counts") or {}).get(status) for status in surveyed.counts}
    if told != surveyed.counts:
        raise JobError(
            f"the ledger has {_as_text(surveyed.counts)}, manifest.json says {_as_text(told)}: the job did not reach "
            "its end, or files of the ledger are gone or damaged: run it again"
        )


def _as_text(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{count:,} {status}" if count is not None else f"no {status}" for status, count in counts.items())


def _measures(surveyed: Survey, ruled: Collection[str]) -> list[str]:
    """What is shown: scores first, then facts, then what samples brought with them; as far as there are values. Of many
    the first, and those that rules look at."""
    order = (rows.SCORE, rows.FACT, rows.CARRIED)
    there = [name for name, spread in surveyed.spreads.items() if spread.total]
    ordered = sorted(there, key=lambda name: order.index(surveyed.roles[name]))
    return [name for place, name in enumerate(ordered) if place < MOST_MEASURES or name in ruled]


def _rule_names(manifest: Mapping[str, Any]) -> list[str]:
    return [str(rule.get("rule")) for rule in manifest.get("rules") or ()]


def _measure_told(name: str, surveyed: Survey, tallied: Tallied, manifest: Mapping[str, Any]) -> dict[str, Any]:
    spread, histogram = surveyed.spreads[name], tallied.histograms[name]
    own = [one for one in tallied.thresholds if one.column == name]
    keeps = own[0].keeps if own else AT_LEAST
    return {
        "name": name,
        "role": surveyed.roles[name],
        "lowest": spread.lowest,
        "highest": spread.highest,
        "median": spread.quantile(0.5),
        **histogram.told(),
        "thresholds": [{"rule": one.rule, "keeps": one.keeps, "value": one.value, "edge": edge_of(one)} for one in own],
        "passing": {"keeps": keeps, "samples": histogram.passing(keeps).tolist()},
        "doubts": doubts_about(name, manifest),
    }


def _data_told(surveyed: Survey, tallied: Tallied, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "shapes": {
            "shorter_side": list(SIDES),
            "width_to_height": list(RATIOS),
            "kept": surveyed.shapes[0].tolist(),
            "all": surveyed.shapes[1].tolist(),
        },
        "categories": {
            name: _category_told(one) for name, one in surveyed.categories.items() if not one.many and len(one.all)
        },
        "repeats": {name: found for name, one in tallied.repeats.items() if (found := one.told())},
        "input": manifest.get("input") or {},
        "broken_shards": list(manifest.get("broken_shards") or ()),
        "passed_over": dict(manifest.get("passed_over") or {}),
    }


def _category_told(one: Category) -> list[dict[str, Any]]:
    common = sorted(one.all.items(), key=lambda pair: (-pair[1], pair[0]))[:FEW]
    return [{"name": name, "kept": one.kept[name], "all": count} for name, count in common]


def _how_told(measures: Sequence[str], surveyed: Survey, manifest: Mapping[str, Any]) -> dict[str, Any]:
    score = next((name for name in measures if surveyed.roles[name] == rows.SCORE), "")
    return {
        "models": models_told(manifest),
        "untrained": untrained_in(manifest),
        "flags": flags_told(manifest),
        "software": dict(manifest.get("software") or {}),
        "output": dict(manifest.get("output") or {}),
        "command": command_of(manifest),
        "one_liners": one_liners(score, bool(manifest["counts"]["kept"])),
    }
