"""Makes what the main job prints at its end, and the parts of it that a dry run and a preview print as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from beam_curator.commands.field_lines import field_lines
from beam_curator.commands.progress_line import duration, rate_text
from beam_curator.duplicates.settings import PERCEPTUAL
from beam_curator.field_names import ALL
from beam_curator.first_few import SHOWN, counted, lines_of, size_text
from beam_curator.identities import ModelIdentity, models_of
from beam_curator.models.heads.made_for import MADE_FOR
from beam_curator.models.scorers.heads import APPROXIMATE
from beam_curator.output.manifest import MANIFEST
from beam_curator.output.placing import shard_name
from beam_curator.output.totals import MIXED_NOTES
from beam_curator.rules.lists import OF_BLOCK
from beam_curator.sources.findings import KINDS, describe
from beam_curator.sources.local_matching import Missing
from beam_curator.sources.told_places import told_end
from beam_curator.storage import urls

SHOWN_MISSING = 1000


@dataclasses.dataclass(frozen=True)
class Work:
    """The numbers of samples that a run worked on, as far as the runner counts them.

    Attributes:
      scored: samples that were embedded and scored.
      reused: samples that had been embedded before.
      from_stored: samples among `reused` of which columns were computed from what is stored.
      reread: samples among `reused` whose images were decoded again for scorers that need pixels.
      fields_read: samples among `reused` whose shards were read again for fields of their metadata.
    """

    scored: int
    reused: int
    from_stored: int = 0
    reread: int = 0
    fields_read: int = 0


def describe_run(
    output: str, manifest: Mapping[str, Any], work: Work, seconds: float, page: str = "", timed: bool = True
) -> str:
    """The summary of a finished job: counts that balance, reasons, speed, and where to look.

    Args:
      output: the output directory.
      manifest: what the job says of itself.
      work: what the run did.
      seconds: that it took.
      page: the name of the report, if there is one.
      timed: whether the manifest's timings are those of the run; a job that changed nothing leaves those of an earlier.
    """
    counts, shards = manifest["counts"], manifest["output"]
    written = f"  in {counted(shards['shards'], 'shard')}, {size_text(shards['bytes'])}"
    lines = [f"Beam Curator: {output}", *counts_told(counts, manifest.get("rules") or (), written)]
    broken = [
        f"  broken shard: {one['shard']}{told_end(one['shard'], one['offset'])}: {one['reason']}; {_lost([one])}"
        for one in manifest["broken_shards"]
    ]
    lines += lines_of(broken, "  ", f" broken shards: {MANIFEST} has them all")
    if len(broken) > 1:
        lines.append(f"  the {len(broken):,} broken shards {_lost(manifest['broken_shards'])} together")
    lines += [f"  {line}" for line in (*_told(manifest), *_of_fields(manifest))]
    lines += [f"  {line}" for line in _work(counts["seen"], work, seconds)]
    lines += _phases(manifest["timings"]) if timed else []
    halved = manifest["timings"]["batch_reductions"]
    if work.scored and halved:
        lines.append(
            f"  --batch_size did not fit in memory, and was halved {counted(halved, 'time')}: "
            "a smaller one, or auto, saves the trying"
        )
    lines += [f"  {line}" for line in (*_none_kept(counts), *doubts(models_of(manifest["models"])))]
    lines.append(f"  look at {_where(output, shards['shards'], page)}")
    return "\n".join(lines)


def counts_told(counts: Mapping[str, Any], rules: Sequence[Mapping[str, Any]], written: str = "") -> list[str]:
    """Counts that balance, with their reasons.

    Args:
      counts: as `manifest.counts_of` gives them.
      rules: as `manifest.rules_of` does.
      written: what is said of the samples that are kept.
    """
    return [
        f"  seen     {counts['seen']:>9,}",
        f"  kept     {counts['kept']:>9,}{written}",
        f"  dropped  {counts['dropped']:>9,}",
        *_reasons(counts["dropped_by_rule"]),
        *_alone(rules),
        *_matched_none(counts, rules),
        f"  failed   {counts['failed']:>9,}",
        *_reasons(counts["failed_by_reason"]),
        f"  balance: {counts['kept']:,} kept + {counts['dropped']:,} dropped + {counts['failed']:,} failed "
        f"= {counts['seen']:,} seen",
    ]


def _work(seen: int, work: Work, seconds: float) -> list[str]:
    scored = work.scored
    if scored + work.reused != seen:  # Spark's job server gives no counters, Prism not all
        return [f"done in {duration(seconds)}; how much of it was scored in this run, the runner does not tell"]
    rate = f" ({rate_text(scored / seconds)} images/s over the whole run)" if scored and seconds > 0 else ""
    before = f" ({work.reused:,} had been scored before)" if work.reused else ""
    lines = [f"scored {counted(scored, 'image')}{before} in {duration(seconds)}{rate}"]
    if work.from_stored:
        lines.append(
            f"computed new columns of {counted(work.from_stored, 'sample')} from what is stored: no image read"
        )
    if work.reread:
        lines.append(f"read {counted(work.reread, 'image')} again for new columns of their pixels: none was embedded")
    if work.fields_read:
        lines.append(f"read the fields of {counted(work.fields_read, 'sample')} from their shards: none was embedded")
    return lines


def _phases(timings: Mapping[str, Any]) -> list[str]:
    """Makes the line that says how long each phase took."""
    told = []
    for one in timings.get("phases") or ():
        rate = one.get("samples_per_second")
        told.append(f"{one['phase']} {duration(one['seconds'])}{f' ({rate_text(rate)} images/s)' if rate else ''}")
    return [f"  time: {', '.join(told)}"] if told else []


def _lost(broken: Sequence[Mapping[str, Any]]) -> str:
    return f"lost about {counted(sum(one['lost_samples'] for one in broken), 'sample')}, or more (an estimate)"


_OLD_HASHES = {
    "unhashed": "such hash: not compared as perceptual duplicates",
    "unedited": "hashes of edits: cropped and brighter copies of them are found less often",
}
"""The samples without hashes that the manifest counts, and what becomes of these."""


def _told(manifest: Mapping[str, Any]) -> list[str]:
    """Lines about what was met in the input besides good samples, and what to do about it."""
    lines = []
    passed_over = manifest.get("passed_over") or {}
    if passed_over:
        kinds = ", ".join(f"{count:,} x {kind}" for kind, count in passed_over.items())
        lines.append(f"passed over, as members of no sample: {kinds}")
    reading = manifest.get("reading") or {}
    policy = reading.get("several_images") if isinstance(reading, dict) else None
    several = manifest.get("several_images")
    if several and policy in ("first", "all"):
        what = "all were scored, and the worst score decided" if policy == "all" else "only the first was scored"
        lines.append(f"{counted(several, 'sample')} with several images: {what} (--several_images {policy})")
    asked = (manifest.get("flags") or {}).get("duplicates") or ()
    perceptual = PERCEPTUAL in (asked.get("kinds", ()) if isinstance(asked, dict) else asked)
    for name, what in _OLD_HASHES.items() if perceptual else ():
        if manifest.get(name):
            lines.append(f"{counted(manifest[name], 'sample')} scored by an earlier release, which knew no {what}")
    return lines + [describe(kind, manifest[kind]) for kind in KINDS if manifest.get(kind)]


def _of_fields(manifest: Mapping[str, Any]) -> list[str]:
    reading = manifest.get("reading")
    carry = reading.get("carry", (ALL,)) if isinstance(reading, Mapping) else (ALL,)
    return field_lines(manifest.get("fields") or {}, carry)


def _where(output: str, shards: int, page: str) -> str:
    places = [urls.join(output, page) + " (in a browser)"] if page else []
    places += [urls.join(output, "samples", "*.parquet") + " (the ledger: every sample, with its reason)"]
    if shards:
        places.append(urls.join(output, f"{shard_name(0)}.tar") + " (the first output shard)")
    return ", ".join([*places, urls.join(output, MANIFEST)])


def _reasons(counts: Mapping[str, int]) -> list[str]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"           {n:>9,}  {why}" for why, n in ordered[:SHOWN]]
    rest = ordered[SHOWN:]
    if rest:
        others = f"{counted(len(rest), 'other reason')}: {MANIFEST} has them all"
        lines.append(f"           {sum(n for _, n in rest):>9,}  for {others}")
    return lines


def _alone(rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lists what each rule would drop if it were the only one, where that is more than it dropped after those before
    it."""
    if all(rule["alone"] in (None, rule["dropped"]) for rule in rules):
        return []
    told = [f"           {rule['alone']:>9,}  {rule['rule']}" for rule in rules if rule["alone"] is not None]
    return ["     alone each would drop", *lines_of(told, "           ", f" rules: {MANIFEST} has them all")]


def _matched_none(counts: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lists of what goes in which not one sample is: what they list may be spelled otherwise than the samples say."""
    names = [rule["rule"] for rule in rules if OF_BLOCK.match(rule["rule"]) and not rule["dropped"]]
    return [f"     NOTE: {name}: true of no sample that came to it" for name in names] if counts["kept"] else []


def _none_kept(counts: Mapping[str, Any]) -> list[str]:
    """A selection may be meant to keep nothing; more often a rule is wrong."""
    if counts["kept"] or not counts["seen"]:
        return []
    reasons = {**counts["dropped_by_rule"], **counts["failed_by_reason"]}
    most = max(sorted(reasons), key=reasons.__getitem__)
    return [f"NOTE: no sample is kept; most, {reasons[most]:,} of {counts['seen']:,}, for: {most}"]


def doubts(models: Mapping[str, ModelIdentity]) -> list[str]:
    """Lines about scores that may mean nothing, or are not what their name says."""
    untrained = [step for step, model in models.items() if not model.trained]
    lines = [f"NOTE: untrained models ({', '.join(untrained)}): these scores mean nothing"] if untrained else []
    noted: dict[str, list[str]] = {}
    for step, model in models.items():
        for note in model.notes:
            if note.startswith((MADE_FOR, APPROXIMATE, *MIXED_NOTES)):
                noted.setdefault(note, []).append(step)
    for note, steps in noted.items():
        may_mean_nothing = ": these scores may mean nothing" if note.startswith(MADE_FOR) else ""
        lines.append(f"NOTE: {' and '.join(steps)}: {note}{may_mean_nothing}")
    return lines


def missing_lines(missing: Sequence[Missing]) -> list[str]:
    """Lines about what the input names and is not there."""
    if not missing:
        return []
    named = [f"    {one}" for one in missing]
    return [f"  {len(missing):,} missing:", *lines_of(named, "    ", shown=SHOWN_MISSING)]
