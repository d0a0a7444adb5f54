"""The main job: WebDataset shards in, scored and filtered shards out.

beam-curator curate --input 'raw/*.tar' --output curated --min_aesthetic 5.0 --max_nsfw 0.5
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

import beam_curator as bc
from beam_curator import process_tuning
from beam_curator.commands import parsing, running
from beam_curator.commands.dry_run_flags import DRY_RUN, PREVIEW, DryRun, split_off
from beam_curator.commands.duplicates_of_flags import duplicates_of
from beam_curator.commands.facts_of_parts import check_facts
from beam_curator.commands.fields_of_flags import fields_of_selection
from beam_curator.commands.gpu_processes import note_on_processes
from beam_curator.commands.options import CurationOptions, flags_of, reading_of
from beam_curator.commands.plan import describe_plan, estimate_lines, estimate_of, known_rate, look
from beam_curator.commands.preset_flag import read_preset, with_preset
from beam_curator.commands.preview import describe_preview
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
from beam_curator.commands.summary import Work, describe_run, planned_ranges
from beam_curator.commands.trial import Trial, chosen, run_trial
from beam_curator.duplicates.settings import DuplicateSettings
from beam_curator.errors import JobError, StorageError, UsageError
from beam_curator.models.encoders.encoder import Encoder
from beam_curator.models.encoders.precision import check_here, resolve_device
from beam_curator.models.scorers.scorer import Scorer
from beam_curator.output.against import notes_on_hashes
from beam_curator.output.embeddings_from import check_same_input
from beam_curator.output.job_input import Matched, describe_input, match_input, urls_and_sizes
from beam_curator.output.lease import GONE_SECONDS, SUBMITTED_SECONDS
from beam_curator.output.manifest import MANIFEST, is_of_run, read_manifest
from beam_curator.output.ownership import (
    Job,
    Remembered,
    check_output,
    check_readable,
    claim_output,
    notes_before,
    read_job,
    standing_job,
)
from beam_curator.output.report_files import PAGE, check_own_report
from beam_curator.output.scores_from import check_scores, check_steps, scoring_job
from beam_curator.output.side_files import notes_on, stale_side_files
from beam_curator.rules.caption_repeats import CaptionRepeats
from beam_curator.rules.names import rule_name
from beam_curator.rules.rule import Rule
from beam_curator.samples import Shard, ShardRange
from beam_curator.sources import matching
from beam_curator.sources.counting import density_of
from beam_curator.sources.matching import named_patterns
from beam_curator.sources.no_samples import refuse_what_holds_none
from beam_curator.storage.places import real
from beam_curator.transforms.checkpointing import Checkpoint, Scoring
from beam_curator.transforms.claims import held_by_command, new_claim
from beam_curator.transforms.duplicates import DropDuplicates
from beam_curator.transforms.fields import AddFields
from beam_curator.transforms.reading import PlanRanges
from beam_curator.transforms.reporting import WriteReport
from beam_curator.transforms.scoring import ScoreRanges
from beam_curator.transforms.whole_selection import ReadRows, Selection, WholeSelection


@dataclasses.dataclass(frozen=True)
class Given:
    """What a caller in Python gives as objects, beside the flags.

    Attributes:
      encoder: what embeds, in place of the one that a flag names.
      scorers: after those of the flags.
      rules: tried after those of the flags.
    """

    encoder: Encoder | None = None
    scorers: Sequence[Scorer] = ()
    rules: Sequence[Rule] = ()


NOTHING_GIVEN = Given()


@dataclasses.dataclass(frozen=True)
class Curation:
    """A checked job, ready to run.

    Attributes:
      options: the flags; --range_mb is that of the output directory.
      input: the shards, under the urls by which the output directory knows them, and what is missing.
      range_mb: the one that was asked for, if any was.
      selecting: what decides on samples, but for duplicates.
      scoring: from ranges to scores.
      hints: for the runner, of what scoring needs.
      started: when, in seconds since 1970.
      given_rules: the names of those rules that no flag gave, which a caller in Python did.
      duplicates: what counts as one; None where they stay.
    """

    options: CurationOptions
    input: Matched
    range_mb: float | None
    selecting: Selection
    scoring: Scoring
    hints: Mapping[str, str]
    started: float
    given_rules: Sequence[str] = ()
    duplicates: DuplicateSettings | None = None

    @property
    def shards(self) -> Sequence[Shard]:
        """The shards that are there."""
        return self.input.shards

    @property
    def scores(self) -> str:
        """The output directory that has the scores."""
        return self.options.scores_from or self.options.output

    @property
    def seen(self) -> str | None:
        """Which shards the job has to find as they are; a template may be run when there are others."""
        return None if _is_template(self.options) else urls_and_sizes(self.shards)

    @property
    def job(self) -> Job:
        """What the output directory is to belong to."""
        options = self.options
        inputs, given = sorted(set(matching.expand_patterns(options.input))), sorted(set(options.input))
        wanted, flags = self.scoring.wanted, model_flags(options)
        own = Job(inputs, options.range_mb, wanted.encoder, wanted.steps, flags, given, self.input.found)
        return dataclasses.replace(own, scores_from=real(options.scores_from)) if options.scores_from else own

    def selection(self, job: Job) -> dict[str, Any]:
        """What the manifest says of flags and input; patterns that spell the same shards otherwise make no other one.

        Args:
          job: as the output directory remembers it.
        """
        flags = {**flags_of(self.options), "input": list(job.given)}
        if self.given_rules:
            flags["rules"] = list(self.given_rules)
        return {"flags": flags, "input": describe_input(self.shards, self.input.missing)}


def _is_template(options: CurationOptions) -> bool:
    """Whether the pipeline is kept, to be run another day, when there may be other shards."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def curate(pipeline: beam.Pipeline, curation: Curation) -> beam.PCollection[Mapping[str, Any]]:
    """The pipeline, from top to bottom, in an output directory that is claimed."""
    options = curation.options
    selection = curation.selection(read_job(options.output) or curation.job)
    scored = (
        pipeline
        | bc.MatchShards(
            options.input,
            options.allow_missing,
            curation.seen,
            options.output,
            Remembered(options.output),
            options.input_format,
            options.image_column or "",
            options.caption_column or "",
        )
        | PlanRanges(options.range_mb, options.output, reading_of(options), options.scores_from)
        | Checkpoint(
            options.output, curation.scoring, curation.hints, options.scores_from, curation.selecting.looked_at
        )
    )
    selected = scored
    if curation.selecting.fields:
        selected |= AddFields(curation.scores, curation.selecting.fields, curation.scoring.wanted)
    selected |= WholeSelection(curation.selecting, curation.scoring.wanted)
    if curation.duplicates is not None:
        if curation.selecting.waits:
            selected |= ReadRows(curation.scoring.wanted)
        selected |= DropDuplicates(options.output, **dataclasses.asdict(curation.duplicates))
    written = selected | bc.WriteShards(
        options.output,
        options.samples_per_shard,
        options.max_failed_fraction,
        job={**selection, "started": curation.started},
        ranges_per_ledger_file=options.ranges_per_ledger_file,
    )
    if not options.report:
        return written
    return written | WriteReport(options.output)


@process_tuning.collector_paused()
def prepare(options: CurationOptions, started: float, given: Given = NOTHING_GIVEN) -> Curation:
    """All checks of flags, input, models and output, before any work.

    Args:
      options: the flags.
      started: when the command was, in seconds since 1970.
      given: what a caller in Python gives beside them.

    Raises:
      UsageError, StorageError: for the first thing that is wrong.
    """
    parsing.require(options, "input", "output")
    parsing.require_absolute(options)
    parsing.require_buckets(options)
    check_runner(options, [*named_patterns(options.input), options.output])
    asked = options.range_mb
    resolve_defaults(options)
    scorers = scorers_of(options, given.scorers)
    all_rules, hints = rules_of(options, scorers.columns, given.rules), scoring_hints(options)
    tops, lists = tops_of(options, scorers.columns), lists_of(options)
    check_readable(options.output)
    if options.report:
        check_own_report(options.output)
    standing = None if options.overwrite else standing_job(options.output)
    scored = scoring_job(options.scores_from, options.output) if options.scores_from else standing
    options.range_mb = scored.range_mb if scored and scored.range_mb else options.range_mb
    known = scored.shards if scored else ()
    reading = reading_of(options)
    matched = match_input(options.input, options.output, known, input_format=options.input_format, reading=reading)
    refuse_what_holds_none(matched.shards, reading)
    if parsing.is_local(options):  # elsewhere the workers have the device
        check_here(options.precision, options.device)
    scoring = scoring_of(options, scorers, scored, given.encoder)
    described = describe_input(matched.shards, matched.missing)
    cut = functools.partial(_ranges, options, matched.shards)
    if options.scores_from and scored is not None:
        check_scores(options.scores_from, scored, standing, scoring.wanted.encoder, matched.found)
        check_steps(options.scores_from, scored, scoring.wanted, reading, described, cut)
    if isinstance(scoring, ScoreRanges):
        scoring.try_heads()
    duplicates = duplicates_of(options, scorers.columns, scoring.wanted.encoder)
    if duplicates is not None and duplicates.embeddings:
        check_same_input(duplicates.embeddings, options.range_mb, reading, described, options.output)
    names = [*map(rule_name, given.rules)]
    there = None if options.overwrite else read_manifest(options.output)
    there = read_manifest(options.scores_from) if options.scores_from else there
    if _is_template(options):
        there = None  # what other shards hold that are there when it runs, nobody knows
    columns = column_types(scorers.columns)
    fields = fields_of_selection(there, reading, described, all_rules, lists, tops, columns)
    if scored is not None:
        scores = options.scores_from or options.output
        check_facts(scores, scoring.wanted.encoder, cut, all_rules, tops, columns)
    repeats = CaptionRepeats(options.max_caption_repeats) if options.max_caption_repeats else None
    selection = Selection(all_rules, repeats, lists, tops, fields)
    return Curation(options, matched, asked, selection, scoring, hints, started, names, duplicates)


def _ranges(options: CurationOptions, shards: Sequence[Shard]) -> Iterator[ShardRange]:
    """The ranges of the input as the job cut them whose scores stand."""
    for shard in shards:
        (planned,) = planned_ranges(
            options.scores_from or options.output, [shard], options.range_mb, reading_of(options)
        )
        yield from planned


@contextlib.contextmanager
def claimed(curation: Curation, waits: bool) -> Iterator[list[str]]:
    """While the block runs, the output directory is the job's; gives what the user should know before the work begins.

    Args:
      curation: what is to be done.
      waits: whether the block waits for the end of the job.

    Raises:
      UsageError: when the directory holds another job's output, or another job has it.
      StorageError: when it cannot be written.
    """
    options = curation.options
    claim = new_claim(options.output, parsing.is_local(options), GONE_SECONDS if waits else SUBMITTED_SECONDS)
    with held_by_command(claim, options.take_over, hands_on=not waits):
        with process_tuning.collector_paused():
            lines = _notes(curation)
            claim_output(options.output, curation.job, options.overwrite, options.fewer_shards)
        yield lines


@dataclasses.dataclass(frozen=True)
class Finished:
    """A job that has run to its end.

    Attributes:
      manifest: what it wrote there.
      work: what it did.
    """

    manifest: Mapping[str, Any]
    work: Work


def run_to_end(pipeline_options: PipelineOptions, curation: Curation, show_progress: bool = True) -> Finished:
    """Runs a job whose output directory is claimed.

    Raises:
      JobError: when it fails for a reason that the user can mend.
    """
    output = curation.options.output
    total_bytes = sum(shard.size_bytes for shard in curation.shards)
    result = running.run_pipeline(
        pipeline_options,
        lambda pipeline: curate(pipeline, curation),
        total_bytes,
        output,
        show_progress,
        len(curation.shards),
    )
    counters = ("samples_scored", "samples_reused", "samples_from_stored", "samples_reread", "samples_fields_read")
    return Finished(_manifest(output), Work(*(running.counter(result, name) for name in counters)))


def run(argv: Sequence[str]) -> int:
    """Parses, checks and runs; gives the exit code."""
    started = time.time()
    pipeline_options, instead = parsing.parse("beam-curator curate", __doc__ or "", argv)
    waits = running.waits(pipeline_options)
    curation = prepare(pipeline_options.view_as(CurationOptions), started)
    asked, _ = split_off(with_preset(argv))
    tried = _tried(pipeline_options, curation, asked) if asked.trial else None
    if instead == DRY_RUN:  # its plan lists what is missing
        print(_plan(curation, asked, tried))
    if not curation.options.allow_missing:
        curation.input.check_missing()
    if instead == PREVIEW:
        print(_preview(curation))
    if instead:
        return 0
    with claimed(curation, waits) as lines:
        running.tell("beam-curator", lines)
        return _run(pipeline_options, curation) if waits else _submit(pipeline_options, curation)


def _submit(pipeline_options: PipelineOptions, curation: Curation) -> int:
    output = curation.options.output
    print(running.submit_pipeline(pipeline_options, lambda pipeline: curate(pipeline, curation), output))
    return 0


def _run(pipeline_options: PipelineOptions, curation: Curation) -> int:
    done = run_to_end(pipeline_options, curation)
    seconds = time.time() - curation.started
    page = PAGE if curation.options.report else ""
    timed = is_of_run(done.manifest, curation.started)
    print(describe_run(curation.options.output, done.manifest, done.work, seconds, page, timed))
    running.tell("beam-curator", notes_on(stale_side_files(curation.options.output, MANIFEST)))
    return 0


def _manifest(output: str) -> Mapping[str, Any]:
    try:
        return read_manifest(output) or {}
    except StorageError as error:
        raise JobError(f"the job is done, but its summary cannot be shown: {error}") from error


def _notes(curation: Curation) -> list[str]:
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


def _tried(pipeline_options: PipelineOptions, curation: Curation, asked: DryRun) -> Trial | None:
    """Scores some images, which are kept in the output directory; None where none are left.

    Raises:
      UsageError: where this machine could not tell how fast the job is, or a finished job stands in the directory.
    """
    options = curation.options
    if not parsing.is_local(options) or parsing.has_worker_processes(options):
        raise UsageError("--trial measures threads of this process: leave --runner and --direct_running_mode out")
    if options.scores_from:
        raise UsageError("--trial: with --scores_from nothing is scored that could be tried")
    if not options.allow_missing:
        curation.input.check_missing()
    if options.overwrite:
        raise UsageError("--trial keeps what it scores, and --overwrite removes what is there: leave one of them out")
    plan = look(options.output, curation.shards, options.range_mb, curation.scoring.wanted, reading_of(options))
    ranges = chosen(plan.unscored, density_of(plan.unscored), asked.trial or 1)
    if not ranges:
        return None
    if read_manifest(options.output) is not None:
        raise UsageError(
            f"--trial: {options.output} holds a finished job, which stays as it is: leave --trial out, and its last "
            "run says how fast it is; or give another --output"
        )
    with claimed(curation, waits=True):
        checkpoint = Checkpoint(options.output, curation.scoring, curation.hints)
        return run_trial(pipeline_options, checkpoint, ranges, options.output)


def _plan(curation: Curation, asked: DryRun, tried: Trial | None) -> str:
    """What a dry run prints; a directory that holds another job's output is refused as in earnest."""
    options, scoring = curation.options, curation.scoring
    if not options.overwrite:
        check_output(options.output, curation.job, options.fewer_shards)
    plan = look(curation.scores, curation.shards, options.range_mb, scoring.wanted, reading_of(options))
    if options.overwrite and not options.scores_from:
        plan = plan.anew
    manifest = read_manifest(curation.scores)
    rate = tried.rate if tried else None
    rate = rate or known_rate(plan, manifest, options.precision, lambda: _device(curation))
    kinds = curation.duplicates.kinds if curation.duplicates is not None else ()
    estimate = estimate_of(plan, rate, asked, kinds, manifest, curation.selecting.waits, options.report)
    if asked.json:
        return json.dumps(estimate.told, indent=1)
    told = describe_plan(
        plan, options.range_mb, scoring.sources, curation.input.missing, tried.images if tried else None
    )
    return "\n".join([told, *estimate_lines(estimate), *(f"  note: {line}" for line in _notes(curation))])


def _device(curation: Curation) -> str:
    """What will score: here what there is, elsewhere a GPU where one is asked for."""
    options = curation.options
    if parsing.is_local(options):
        return resolve_device(options.device)
    return "cuda" if options.device == "cuda" or "accelerator" in curation.hints else "cpu"


def _preview(curation: Curation) -> str:
    """What a preview prints; a directory that holds another job's output is refused as in earnest."""
    options = curation.options
    check_output(options.output, curation.job, options.fewer_shards)
    planned = planned_ranges(curation.scores, curation.shards, options.range_mb, reading_of(options))
    ranges = [one for of_shard in planned for one in of_shard]
    told = describe_preview(options.output, curation.scores, ranges, curation.scoring.wanted, curation.selecting)
    left_out = ["  NOTE: --duplicates is left out of a preview"] if curation.duplicates is not None else []
    return "\n".join([told, *left_out, *(f"  note: {line}" for line in _notes(curation))])


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a failed job, 2 for bad usage."""
    return running.exit_code("beam-curator", run, argv)


if __name__ == "__main__":
    sys.exit(main())
