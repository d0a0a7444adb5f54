"""The main job: WebDataset shards in, scored and filtered shards out.

beam-curator curate --input 'raw/*.tar' --output curated --min_aesthetic 5.0 --max_nsfw 0.5
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

import beam_curator as bc
from beam_curator.commands import parsing, running
from beam_curator.commands.curation import Curation, claimed, prepare
from beam_curator.commands.dry_run_flags import DRY_RUN, PREVIEW, split_off
from beam_curator.commands.looking_ahead import plan_text, preview_text, trial_of
from beam_curator.commands.options import CurationOptions, reading_of
from beam_curator.commands.preset_flag import with_preset
from beam_curator.commands.summary import Work, describe_run
from beam_curator.errors import JobError, StorageError
from beam_curator.identities import models_of
from beam_curator.output.against import notes_on_precision
from beam_curator.output.job_file import Remembered, read_job
from beam_curator.output.manifest import MANIFEST, is_of_run, read_manifest
from beam_curator.output.report_files import PAGE
from beam_curator.output.side_files import notes_on, stale_side_files
from beam_curator.transforms.checkpointing import Checkpoint
from beam_curator.transforms.duplicates import DropDuplicates
from beam_curator.transforms.fields import AddFields
from beam_curator.transforms.planning import PlanRanges
from beam_curator.transforms.reporting import WriteReport
from beam_curator.transforms.whole_selection import ReadRows, WholeSelection


def curate(pipeline: beam.Pipeline, curation: Curation) -> beam.PCollection[Mapping[str, Any]]:
    """The pipeline of the main job, from top to bottom; gives one element, the manifest.

    Args:
      pipeline: to add the steps to.
      curation: the job, whose output directory is `claimed`.
    """
    options, selection = curation.options, curation.selection
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
        | Checkpoint(options.output, curation.scoring, curation.hints, options.scores_from, selection.looked_at)
    )
    selected = scored
    if selection.fields:
        selected |= AddFields(curation.scores, selection.fields, curation.scoring.wanted)
    selected |= WholeSelection(selection, curation.scoring.wanted)
    if curation.duplicates is not None:
        if selection.waits:
            selected |= ReadRows(curation.scoring.wanted)
        selected |= DropDuplicates(options.output, **dataclasses.asdict(curation.duplicates))
    written = selected | bc.WriteShards(
        options.output,
        options.samples_per_shard,
        options.max_failed_fraction,
        job={**curation.described(read_job(options.output) or curation.job), "started": curation.started},
        ranges_per_ledger_file=options.ranges_per_ledger_file,
    )
    if not options.report:
        return written
    return written | WriteReport(options.output)


@dataclasses.dataclass(frozen=True)
class Finished:
    """A job that has run to its end.

    Attributes:
      manifest: the content of its manifest.json.
      work: how many samples this run scored, and how many had scores already.
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
    tried = trial_of(pipeline_options, curation, asked) if asked.trial else None
    if instead == DRY_RUN:  # its plan lists what is missing
        print(plan_text(curation, asked, tried))
    if not curation.options.allow_missing:
        curation.input.check_missing()
    if instead == PREVIEW:
        print(preview_text(curation))
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
    models, duplicates = models_of(done.manifest["models"]), curation.duplicates
    precision = notes_on_precision(duplicates, models) if duplicates is not None else []
    stale = notes_on(stale_side_files(curation.options.output, MANIFEST))
    running.tell("beam-curator", [*precision, *stale])
    return 0


def _manifest(output: str) -> Mapping[str, Any]:
    try:
        return read_manifest(output) or {}
    except StorageError as error:
        raise JobError(f"the job is done, but its summary cannot be shown: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for a failed job, 2 for bad usage."""
    return running.exit_code("beam-curator", run, argv)


if __name__ == "__main__":
    sys.exit(main())
