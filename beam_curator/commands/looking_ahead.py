"""Makes what a command prints in place of running a job: the plan of a dry run, with or without a trial, and a
preview."""

from __future__ import annotations

import json

from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands import parsing
from beam_curator.commands.curation import Curation, claimed, notes_of
from beam_curator.commands.dry_run_flags import DryRun
from beam_curator.commands.options import reading_of
from beam_curator.commands.plan import describe_plan, look
from beam_curator.commands.plan_estimate import estimate_lines, estimate_of, known_rate, rate_of_run
from beam_curator.commands.preview import describe_preview
from beam_curator.commands.trial import Trial, chosen, run_trial
from beam_curator.errors import UsageError
from beam_curator.models.encoders.precision import resolve_device
from beam_curator.output.manifest import read_manifest
from beam_curator.output.ownership import check_output
from beam_curator.output.plans import planned_ranges
from beam_curator.sources.counting import density_of
from beam_curator.transforms.checkpointing import Checkpoint


def trial_of(pipeline_options: PipelineOptions, curation: Curation, asked: DryRun) -> Trial | None:
    """Scores some images to measure the rate; their scores are kept in the output directory. None where none are left.

    Args:
      pipeline_options: of the job.
      curation: the job.
      asked: the flags of the dry run; `trial` says how many images.

    Raises:
      UsageError: the job would run elsewhere than in this process, or a finished job stands in the directory.
      JobError: scoring fails for a reason that the user can mend.
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
    manifest = read_manifest(options.output)
    if manifest is not None:
        last = (
            "leave --trial out, and its last run says how fast it is; or give another --output"
            if rate_of_run(manifest, options.output) is not None
            else "its last run scored too few images to say how fast it is: give another --output"
        )
        raise UsageError(f"--trial: {options.output} holds a finished job, which stays as it is: {last}")
    with claimed(curation, waits=True):
        checkpoint = Checkpoint(options.output, curation.scoring, curation.hints)
        return run_trial(pipeline_options, checkpoint, ranges, options.output)


def plan_text(curation: Curation, asked: DryRun, tried: Trial | None) -> str:
    """Makes what a dry run prints: the plan and the estimate, as text or as JSON.

    Args:
      curation: the job.
      asked: the flags of the dry run.
      tried: the trial that was made before, if any.

    Raises:
      UsageError: the output directory holds another job's output, as where the job is run.
    """
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
    estimate = estimate_of(plan, rate, asked, kinds, manifest, curation.selection.waits, options.report)
    if asked.json:
        return json.dumps(estimate.as_json, indent=1)
    told = describe_plan(
        plan, options.range_mb, scoring.sources, curation.input.missing, tried.images if tried else None
    )
    return "\n".join([told, *estimate_lines(estimate), *(f"  note: {line}" for line in notes_of(curation))])


def _device(curation: Curation) -> str:
    """The device that will score, "cpu" or "cuda": of this machine, or elsewhere what the flags ask for."""
    options = curation.options
    if parsing.is_local(options):
        return resolve_device(options.device)
    return "cuda" if options.device == "cuda" or "accelerator" in curation.hints else "cpu"


def preview_text(curation: Curation) -> str:
    """Makes what a preview prints: what the flags would select of the samples that are scored already.

    Raises:
      UsageError: the output directory holds another job's output, as where the job is run.
    """
    options = curation.options
    check_output(options.output, curation.job, options.fewer_shards)
    planned = planned_ranges(curation.scores, curation.shards, options.range_mb, reading_of(options))
    ranges = [one for of_shard in planned for one in of_shard]
    told = describe_preview(options.output, curation.scores, ranges, curation.scoring.wanted, curation.selection)
    left_out = ["  NOTE: --duplicates is left out of a preview"] if curation.duplicates is not None else []
    return "\n".join([told, *left_out, *(f"  note: {line}" for line in notes_of(curation))])
