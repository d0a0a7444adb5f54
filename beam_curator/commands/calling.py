"""The main job from Python: what `beam-curator curate` does, without a command line."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_curator.commands import curate_images, parsing, running
from beam_curator.commands.curation import Given, claimed, prepare
from beam_curator.commands.keywords import argv_of, beams_values
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.preset_flag import with_preset
from beam_curator.errors import UsageError
from beam_curator.models.encoders.encoder import Encoder, check_encoder
from beam_curator.models.scorers.scorer import Scorer
from beam_curator.output import ledger
from beam_curator.output.manifest import MANIFEST
from beam_curator.output.placing import shard_name
from beam_curator.rules.rule import Rule
from beam_curator.rules.selecting import rules_of
from beam_curator.storage import urls


@dataclasses.dataclass(frozen=True)
class CurationResult:
    """The result of a finished job: `seen` is `kept + dropped + failed`.

    Attributes:
      seen: samples in the input.
      kept: samples in the output.
      dropped: samples that a rule rejected.
      failed: samples that could not be used.
      scored: samples that this run scored; None where the runner does not tell.
      reused: samples that had been scored before; None where the runner does not tell.
      dropped_by_rule: how many samples each rule dropped, by its name.
      failed_by_reason: how many samples failed for each reason.
      output: the output directory.
      manifest: the path of its manifest.
      ledger: the glob of its ledger's Parquet files, which have a row for each sample.
      shards: the paths of its tars, in order.
      notes: what the command would have said before the work began.
    """

    seen: int
    kept: int
    dropped: int
    failed: int
    scored: int | None
    reused: int | None
    dropped_by_rule: Mapping[str, int]
    failed_by_reason: Mapping[str, int]
    output: str
    manifest: str
    ledger: str
    shards: tuple[str, ...]
    notes: tuple[str, ...] = ()


def curate(
    input: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    encoder: str | Encoder | None = None,
    scorers: Sequence[Scorer] = (),
    rules: Sequence[Rule | str] = (),
    pipeline_options: PipelineOptions | None = None,
    runner: str | None = None,
    show_progress: bool = False,
    **flags: Any,
) -> CurationResult:
    """Curates shards, as `beam-curator curate` does, and waits for the end of the job.

    `bc.curate("raw/*.tar", "curated", min_aesthetic=5.0)` does what `--input 'raw/*.tar' --output curated
    --min_aesthetic 5.0` does, with the same scores, bytes and manifest; called again, it resumes.

    Args:
      input: what `--input` takes, or several of them.
      output: the output directory, local or in a bucket.
      encoder: what `--encoder` takes, or an `Encoder` of your own.
      scorers: scorers of your own, after those of the flags.
      rules: rules of your own, tried after those of the flags: called with a sample's row, true keeps it; or
        comparisons as text, such as "width < 2000".
      pipeline_options: Beam's options; flags of this job are no part of them.
      runner: the name of Beam's runner; by default that of `pipeline_options`, else the job runs in this process.
      show_progress: whether notes and a line of progress go to the standard error.
      **flags: the other flags of the command, by their names, checked as those are; None is the flag's default, but
        min_aesthetic=None and max_nsfw=None turn these thresholds off.

    Raises:
      UsageError: for the first thing that is wrong, before any work.
      StorageError: for a place that cannot be read or written, before any work.
      JobError: when the job fails for a reason that the user can mend.
    """
    started = time.time()
    given = Given(_own(encoder), _checked_scorers(scorers), _checked(rules))
    named = encoder if given.encoder is None else given.encoder.name
    argv = with_preset(argv_of({"input": input, "output": output, **flags, "encoder": named}))
    options = PipelineOptions(argv, **beams_values(pipeline_options))
    if runner is not None:
        options.view_as(StandardOptions).runner = _checked_name(runner)
    parsing.put_to_use(options)
    if not running.waits(options):
        raise UsageError("template_location: curate() gives what the job gave, so that it cannot make a template")
    curation = prepare(options.view_as(CurationOptions), started, given)
    if not curation.options.allow_missing:
        curation.input.check_missing()
    with claimed(curation, waits=True) as notes:
        if show_progress:
            running.tell("beam-curator", notes)
        return _result(curation.options.output, curate_images.run_to_end(options, curation, show_progress), notes)


def _own(encoder: Any) -> Encoder | None:
    """The encoder of one's own, checked; None of a name, and of nothing."""
    if encoder is None or isinstance(encoder, str):
        return None
    check_encoder(encoder)
    return encoder


def _checked_scorers(scorers: Any) -> list[Scorer]:
    if isinstance(scorers, str) or callable(scorers) or not isinstance(scorers, Iterable):
        raise UsageError("scorers: give a list of scorers; text such as my_scorers:Warmth(side=32) goes to scorer=[]")
    return list(scorers)


def _checked(rules: Any) -> list[Rule]:
    if callable(rules) or isinstance(rules, str):
        raise UsageError("rules: give a list of rules; text such as my_rules:longer_than(words=4) goes to rule=[...]")
    return rules_of(rules)


def _checked_name(runner: Any) -> str:
    if not isinstance(runner, str):
        raise UsageError(f"runner={runner!r}: give its name, such as 'DataflowRunner'")
    return runner


def _result(output: str, done: curate_images.Finished, notes: Sequence[str]) -> CurationResult:
    counts, shards = done.manifest["counts"], done.manifest["output"]["shards"]
    work = done.work
    is_told = work.scored + work.reused == counts["seen"]
    return CurationResult(
        counts["seen"],
        counts["kept"],
        counts["dropped"],
        counts["failed"],
        work.scored if is_told else None,
        work.reused if is_told else None,
        counts["dropped_by_rule"],
        counts["failed_by_reason"],
        output,
        urls.join(output, MANIFEST),
        urls.join(output, ledger.LEDGER_DIRECTORY, "*.parquet"),
        tuple(urls.join(output, f"{shard_name(index)}.tar") for index in range(shards)),
        tuple(notes),
    )
