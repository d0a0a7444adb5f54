"""All figures of a report, as JSON has them: from passes over the ledger, and from the manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator import rows
from beam_curator.report.columns import ASPECT_RATIO
from beam_curator.report.copies import Keepers
from beam_curator.report.duplicate_curves import duplicate_curves
from beam_curator.report.flow import flow_of
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
from beam_curator.report.passes import passed_over
from beam_curator.report.shown import NSFW, Shown, veil_limit
from beam_curator.report.survey import FEW, RATIOS, SIDES, Category, Survey
from beam_curator.report.tally import Tally, survey_of, tally_after
from beam_curator.report.thresholds import AT_LEAST, AT_MOST
from beam_curator.report.thumbnails import Wanted
from beam_curator.report.what_if import edge_of

FORMAT = 1
"""Goes up when figures are called otherwise than before."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """The content of a report, but for its pictures.

    Attributes:
      as_json: the figures, as JSON has them.
      wanted: for the picture of each of `as_json["samples"]`.
    """

    as_json: dict[str, Any]
    wanted: Sequence[Wanted]


@dataclasses.dataclass(frozen=True)
class Counted:
    """The passes over the whole ledger, with what they counted.

    Attributes:
      survey: the first one.
      tally: the second one.
      keepers: the third one, which finds what stays in the place of the duplicates that are shown.
    """

    survey: Survey
    tally: Tally
    keepers: Keepers


def figures_of(ledger: LedgerFiles, manifest: Mapping[str, Any]) -> Figures:
    """The figures of a finished job, from passes over its ledger one after the other.

    Raises:
      StorageError: when the ledger cannot be read.
      JobError: when it is not the one that the manifest tells of.
    """
    survey = passed_over(ledger, survey_of(manifest))
    tally = passed_over(ledger, tally_after(survey, manifest))
    keepers = passed_over(ledger, keepers_after(tally))
    return figures_from(Counted(survey, tally, keepers), ledger, manifest)


def keepers_after(tally: Tally) -> Keepers:
    """The third pass, before its first row."""
    return Keepers(tally.copies.keeper_names.values())


def figures_from(counted: Counted, ledger: LedgerFiles, manifest: Mapping[str, Any]) -> Figures:
    """The figures of a finished job; of the ledger the rows of the samples that are shown are read.

    Raises:
      StorageError: when the ledger cannot be read.
    """
    survey, tally = counted.survey, counted.tally
    measured = [_measure_told(name, survey, tally, manifest) for name in tally.histograms]
    keeper_of = {place: counted.keepers.found.get(name) for place, name in tally.copies.keeper_names.items()}
    limits = [one for measure in measured if measure["name"] == NSFW for one in measure["thresholds"]]
    shown = Shown(veil_limit(limits))
    places = [*tally.sheets.places, *keeper_of, *keeper_of.values()]
    shown.add(ledger, [place for place in places if place is not None])
    counts = manifest["counts"]
    told = {
        "format": FORMAT,
        "times": times_of(manifest),
        "counts": counts,
        "flow": [dataclasses.asdict(step) for step in flow_of(counts, _rule_names(manifest))],
        "rules": list(manifest.get("rules") or ()),
        "measures": measured,
        "what_if": tally.what_if.as_json(survey.reasons(rows.DROPPED), manifest),
        "samples": shown.samples,
        "sheets": tally.sheets.as_json(shown.number_of),
        "duplicates": {
            "groups_in_all": survey.keepers.groups,
            "went_in_all": survey.keepers.copies,
            "curves": duplicate_curves(ledger, manifest),
            **tally.copies.as_json(shown.number_of, keeper_of),
        },
        "data": _data_told(survey, tally, manifest),
        "how": _how_told(tally, survey, manifest),
    }
    return Figures(told, shown.wanted)


def _rule_names(manifest: Mapping[str, Any]) -> list[str]:
    return [str(rule.get("rule")) for rule in manifest.get("rules") or ()]


def _measure_told(name: str, survey: Survey, tally: Tally, manifest: Mapping[str, Any]) -> dict[str, Any]:
    spread, histogram = survey.spreads[name], tally.histograms[name]
    own = [one for one in tally.thresholds if one.column == name]
    closed = "right" if name == ASPECT_RATIO else "left"
    keeps = own[0].keeps if own else AT_MOST if closed == "right" else AT_LEAST
    return {
        "name": name,
        "role": survey.role_of(name),
        "lowest": spread.lowest,
        "highest": spread.highest,
        "median": spread.quantile(0.5),
        **histogram.as_json(),
        "closed": closed,
        "thresholds": [{"rule": one.rule, "keeps": one.keeps, "value": one.value, "edge": edge_of(one)} for one in own],
        "passing": {"keeps": keeps, "samples": histogram.passing(keeps).tolist()},
        "doubts": doubts_about(name, manifest),
    }


def _data_told(survey: Survey, tally: Tally, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "shapes": {
            "shorter_side": list(SIDES),
            "width_to_height": list(RATIOS),
            "kept": survey.shapes[0].tolist(),
            "all": survey.shapes[1].tolist(),
        },
        "categories": {
            name: _category_told(one)
            for name, one in sorted(survey.categories.items(), key=lambda item: survey.texts[item[0]])
            if not one.many and len(one.all)
        },
        "repeats": {name: found for name, one in tally.repeats.items() if (found := one.as_json())},
        "input": manifest.get("input") or {},
        "broken_shards": list(manifest.get("broken_shards") or ()),
        "passed_over": dict(manifest.get("passed_over") or {}),
    }


def _category_told(one: Category) -> list[dict[str, Any]]:
    common = sorted(one.all.items(), key=lambda pair: (-pair[1], pair[0]))[:FEW]
    return [{"name": name, "kept": one.kept[name], "all": count} for name, count in common]


def _how_told(tally: Tally, survey: Survey, manifest: Mapping[str, Any]) -> dict[str, Any]:
    score = next((name for name in tally.histograms if survey.role_of(name) == rows.SCORE), "")
    return {
        "models": models_told(manifest),
        "untrained": untrained_in(manifest),
        "flags": flags_told(manifest),
        "software": dict(manifest.get("software") or {}),
        "output": dict(manifest.get("output") or {}),
        "command": command_of(manifest),
        "one_liners": one_liners(score, bool(manifest["counts"]["kept"])),
    }
