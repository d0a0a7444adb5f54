"""A job of curation, checked before any work: its flags, input, models and output directory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions

from beam_curator import process_tuning
from beam_curator.commands import parsing
from beam_curator.commands.duplicates_of_flags import duplicates_of
from beam_curator.commands.facts_of_parts import check_facts
from beam_curator.commands.fields_of_flags import fields_of_selection
from beam_curator.commands.gpu_processes import note_on_processes
from beam_curator.commands.options import CurationOptions, flags_of, reading_of
from beam_curator.commands.preset_flag import read_preset
from beam_curator.commands.runner_checks import check_runner
from beam_curator.commands.scorers_of_flags import model_flags, scorers_of, scoring_of
from beam_curator.commands.steps_of_flags import (
    column_types,
    lists_of,
    resolve_defaults,
    rules_of,
    scoring_hints,
    tops_of,
)
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.models.encoders.encoder import Encoder
from beam_curator.models.encoders.precision import check_here
from beam_curator.models.scorers.scorer import Column, Scorer
from beam_curator.output.against import notes_on_hashes
from beam_curator.output.embeddings_from import check_same_input
from beam_curator.output.job_file import Job, standing_job
from beam_curator.output.job_input import Matched, describe_input, match_input, urls_and_sizes
from beam_curator.output.lease import GONE_SECONDS, SUBMITTED_SECONDS
from beam_curator.output.manifest import read_manifest
from beam_curator.output.ownership import check_readable, claim_output, notes_before
from beam_curator.output.plans import planned_ranges
from beam_curator.output.report_files import check_own_report
from beam_curator.output.scores_from import check_scores, check_steps, scoring_job
from beam_curator.rules.caption_repeats import CaptionRepeats
from beam_curator.rules.fields_wanted import FieldsWanted
from beam_curator.rules.names import rule_name
from beam_curator.rules.rule import Rule
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources import matching
from beam_curator.sources.matching import named_patterns
from beam_curator.sources.no_samples import refuse_what_holds_none
from beam_curator.storage.places import real
from beam_curator.transforms.checkpointing import Scoring
from beam_curator.transforms.claims import held_by_command, new_claim
from beam_curator.transforms.scoring import ScoreRanges
from beam_curator.transforms.whole_selection import Selection


@dataclasses.dataclass(frozen=True)
class Given:
    """Objects that a caller in Python gives beside the flags.

    Attributes:
      encoder: the encoder, in place of the one that --encoder names.
      scorers: scorers, after those of the flags.
      rules: rules, tried after those of the flags.
    """

    encoder: Encoder | None = None
    scorers: Sequence[Scorer] = ()
    rules: Sequence[Rule] = ()


NOTHING_GIVEN = Given()


@dataclasses.dataclass(frozen=True)
class Curation:
    """A checked job, ready to run.

    Attributes:
      options: the flags; `range_mb` is that of the output directory.
      input: the shards, under the urls by which the output directory knows them, and what is missing.
      range_mb: the value of --range_mb that the user gave, if any.
      selection: what decides which samples are kept, without duplicates.
      scoring: the transform from ranges to scores.
      hints: resource hints for the scoring, by Beam's names.
      started: when the command was started, in seconds since 1970.
      given_rules: names of the rules that a caller in Python gave as objects.
      duplicates: how duplicates are found; None where they are kept.
    """

    options: CurationOptions
    input: Matched
    range_mb: float | None
    selection: Selection
    scoring: Scoring
    hints: Mapping[str, str]
    started: float
    given_rules: Sequence[str] = ()
    duplicates: DuplicateSettings | None = None

    @property
    def shards(self) -> Sequence[Shard]:
        """The shards of the input that exist."""
        return self.input.shards

    @property
    def scores(self) -> str:
        """The output directory that holds the scores: that of --scores_from, else --output."""
        return self.options.scores_from or self.options.output

    @property
    def seen(self) -> str | None:
        """`urls_and_sizes` of the shards that the job has to find again; None for a template, which is run later."""
        return None if _is_template(self.options) else urls_and_sizes(self.shards)

    @property
    def job(self) -> Job:
        """The job that the output directory is going to belong to."""
        options = self.options
        inputs, given = sorted(set(matching.expand_patterns(options.input))), sorted(set(options.input))
        wanted, flags = self.scoring.wanted, model_flags(options)
        own = Job(inputs, options.range_mb, wanted.encoder, wanted.steps, flags, given, self.input.found)
        return dataclasses.replace(own, scores_from=real(options.scores_from)) if options.scores_from else own

    def described(self, job: Job) -> dict[str, Any]:
        """The `flags` and `input` of the manifest. Patterns are those that the job was first given, so that the same
        shards spelled in another way make no other manifest.

        Args:
          job: the job as the output directory remembers it.
        """
        flags = {**flags_of(self.options), "input": list(job.given)}
        if self.given_rules:
            flags["rules"] = list(self.given_rules)
        return {"flags": flags, "input": describe_input(self.shards, self.input.missing)}


def _is_template(options: CurationOptions) -> bool:
    """Tells whether the pipeline is made into a Dataflow template, to be run later, when there may be other shards."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


@process_tuning.collector_paused()
def prepare(options: CurationOptions, started: float, given: Given = NOTHING_GIVEN) -> Curation:
    """Checks flags, input, models and output directory, before any work.

    Args:
      options: the flags; those that depend on others, or on the output directory, are filled in.
      started: when the command was started, in seconds since 1970.
      given: objects that a caller in Python gives beside the flags.

    Raises:
      UsageError, StorageError: for the first thing that is wrong.
    """
    _check_flags(options)
    asked = options.range_mb
    resolve_defaults(options)
    scorers = scorers_of(options, given.scorers)
    selection = _selection(options, scorers.columns, given.rules)
    hints = scoring_hints(options)
    standing, scored = _earlier_jobs(options)
    options.range_mb = scored.range_mb if scored and scored.range_mb else options.range_mb
    matched = _matched_input(options, scored)
    if parsing.is_local(options):  # elsewhere the workers have the device
        check_here(options.precision, options.device)
    scoring = scoring_of(options, scorers, scored, given.encoder)
    described = describe_input(matched.shards, matched.missing)
    cut = functools.partial(_ranges, options, matched.shards)
    if options.scores_from and scored is not None:
        check_scores(options.scores_from, scored, standing, scoring.wanted.encoder, matched.found)
        check_steps(options.scores_from, scored, scoring.wanted, reading_of(options), described, cut)
    if isinstance(scoring, ScoreRanges):
        scoring.try_heads()
    duplicates = duplicates_of(options, scorers.columns, scoring.wanted.encoder)
    if duplicates is not None and duplicates.embeddings:
        check_same_input(duplicates.embeddings, options.range_mb, reading_of(options), described, options.output)
    columns = column_types(scorers.columns)
    selection = dataclasses.replace(selection, fields=_fields(options, selection, described, columns))
    if scored is not None:
        scores = options.scores_from or options.output
        check_facts(scores, scoring.wanted.encoder, cut, selection.rules, selection.tops, columns)
    names = [*map(rule_name, given.rules)]
    return Curation(options, matched, asked, selection, scoring, hints, started, names, duplicates)


def _check_flags(options: CurationOptions) -> None:
    """Raises UsageError for flags that are missing, or that the runner cannot work with."""
    parsing.require(options, "input", "output")
    parsing.require_absolute(options)
    parsing.require_buckets(options)
    check_runner(options, [*named_patterns(options.input), options.output])


def _selection(options: CurationOptions, columns: Sequence[Column], rules: Sequence[Rule]) -> Selection:
    """The selection that the flags ask for, without the fields of metadata that it looks at.

    Args:
      options: the flags.
      columns: the score columns that there are going to be.
      rules: rules that a caller in Python gives, tried after those of the flags.
    """
    of_flags = rules_of(options, columns, rules)
    tops, lists = tops_of(options, columns), lists_of(options)
    repeats = CaptionRepeats(options.max_caption_repeats) if options.max_caption_repeats else None
    return Selection(of_flags, repeats, lists, tops)


def _earlier_jobs(options: CurationOptions) -> tuple[Job | None, Job | None]:
    """The job that stands in the output directory, and the one whose scores are used: the same, or that of
    --scores_from. None where there is no such job, or it is overwritten."""
    check_readable(options.output)
    if options.report:
        check_own_report(options.output)
    standing = None if options.overwrite else standing_job(options.output)
    return standing, scoring_job(options.scores_from, options.output) if options.scores_from else standing


def _matched_input(options: CurationOptions, scored: Job | None) -> Matched:
    """The shards of the input; those that an earlier job scored keep the urls that it knew them by."""
    known, reading = scored.shards if scored else (), reading_of(options)
    matched = match_input(options.input, options.output, known, input_format=options.input_format, reading=reading)
    refuse_what_holds_none(matched.shards, reading)
    return matched


def _fields(
    options: CurationOptions, selection: Selection, described: Mapping[str, Any], columns: Mapping[str, str]
) -> FieldsWanted:
    """The fields of the samples' metadata that a selection looks at, known from an earlier job's manifest if there is
    one.

    Args:
      options: the flags.
      selection: what looks at fields.
      described: the input, as `describe_input` gives it.
      columns: the types of all other columns, by the names of `rows.types_of`.
    """
    manifest = None if options.overwrite else read_manifest(options.output)
    manifest = read_manifest(options.scores_from) if options.scores_from else manifest
    if _is_template(options):
        manifest = None  # other shards may be there when the template is run, with other fields
    reading = reading_of(options)
    return fields_of_selection(manifest, reading, described, selection.rules, selection.lists, selection.tops, columns)


def _ranges(options: CurationOptions, shards: Sequence[Shard]) -> Iterator[ShardRange]:
    """The ranges of these shards, by the plans of the directory that holds the scores."""
    for shard in shards:
        (planned,) = planned_ranges(
            options.scores_from or options.output, [shard], options.range_mb, reading_of(options)
        )
        yield from planned


@contextlib.contextmanager
def claimed(curation: Curation, waits: bool) -> Iterator[list[str]]:
    """Holds the output directory for the job while the block runs; gives the notes for the user (`notes_of`).

    Args:
      curation: the job.
      waits: whether the block waits for the end of the job.

    Raises:
      UsageError: when the directory holds another job's output, or another job has it.
      StorageError: when it cannot be written.
    """
    options = curation.options
    claim = new_claim(options.output, parsing.is_local(options), GONE_SECONDS if waits else SUBMITTED_SECONDS)
    with held_by_command(claim, options.take_over, hands_on=not waits):
        with process_tuning.collector_paused():
            lines = notes_of(curation)
            claim_output(options.output, curation.job, options.overwrite, options.fewer_shards)
        yield lines


def notes_of(curation: Curation) -> list[str]:
    """Tells the user, a line each, what to know before the work begins."""
    options = curation.options
    preset = read_preset(options.preset) if options.preset else None
    told = [str(preset), *preset.beside(options)] if preset is not None else []
    before = notes_before(options.output, curation.job, curation.range_mb, options.overwrite, reading_of(options))
    is_new = not options.scores_from and read_manifest(options.output) is None
    processes = note_on_processes(options) if is_new else None
    idle = [f"--scoring_{name}" for name in curation.hints if parsing.is_local(options)]
    hints = f"{' and '.join(idle)}: for runners elsewhere, nothing changes on this machine" if idle else None
    hashes = notes_on_hashes(curation.duplicates) if curation.duplicates is not None else []
    return [*told, *before, *hashes, *(note for note in (processes, hints) if note)]
