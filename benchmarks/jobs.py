"""The main job, run in this process with an encoder that is loaded already: what it adds, not what loading takes."""

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands import running
from beam_curator.commands.curate_images import curate
from beam_curator.commands.curation import prepare
from beam_curator.commands.options import CurationOptions
from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.output.ownership import claim_output
from beam_curator.samples import SampleBatch, ShardRange
from beam_curator.transforms.clip_handler import ClipModelHandler, LazyEncoder
from beam_curator.transforms.scoring import ScoreAesthetic, ScoreNsfw, ScoreRanges
from benchmarks.photos import PhotoShards

# The runner makes copies of handlers and DoFns in this process: what they share, they find here.
_LOADED: dict[ClipSpec, ClipEncoder] = {}
_RANGE_STARTS: list[float] = []


@dataclass(frozen=True)
class JobRun:
    """One run of the main job.

    Attributes:
      images: in its input.
      seconds: from the pipeline's start to the manifest.
      scoring_seconds: from the first range's reading to the last score part's writing.
      cpu_seconds: of this process, in `seconds`.
      output_bytes: of the shards that it wrote.
    """

    images: int
    seconds: float
    scoring_seconds: float
    cpu_seconds: float
    output_bytes: int


class LoadedEncoder(LazyEncoder):
    """Gives the job an encoder of this process."""

    def __init__(self, spec: ClipSpec) -> None:
        super().__init__(spec, None)
        self._key = spec

    def get(self) -> ClipEncoder:
        """The encoder."""
        return _LOADED[self._key]


class LoadedHandler(ClipModelHandler):
    """The main job's own handler, but for where the encoder comes from."""

    def __init__(self, encoder: ClipEncoder) -> None:
        spec = encoder.spec
        super().__init__(
            spec.model,
            *([] if spec.model == TINY_UNTRAINED else [str(spec.checkpoint)]),
            precision=spec.precision,
            device=spec.device,
            batch_size=spec.batch_size,
            decode_threads=spec.decode_threads,
            compile=spec.compile,
            decode=spec.decode,
        )
        self._key = spec
        _LOADED[spec] = encoder

    def load_model(self) -> LoadedEncoder:
        """The encoder of this process."""
        return LoadedEncoder(self._key)


class _TimedScoring(ScoreRanges):
    """The main job's scoring, which notes when each range is begun."""

    def expand(self, ranges: beam.PCollection[ShardRange]) -> beam.PCollection[SampleBatch]:
        return super().expand(ranges | "NoteStart" >> beam.Map(_note_start).with_output_types(ShardRange))


def _note_start(range: ShardRange) -> ShardRange:
    _RANGE_STARTS.append(time.time())
    return range


def run_job(
    shards: PhotoShards, encoder: ClipEncoder, flags: Sequence[str] = (), directory: Path | None = None
) -> JobRun:
    """Runs the main job on shards, with heads that need no weights and its default thresholds.

    Args:
      shards: its input.
      encoder: loaded and warm.
      flags: of the command line, beside --input and --output.
      directory: where the output goes for a while; a temporary one by default.
    """
    output = Path(tempfile.mkdtemp(prefix="job-", dir=directory))
    try:
        return _run_job(shards, encoder, flags, output)
    finally:
        shutil.rmtree(output)


def _run_job(shards: PhotoShards, encoder: ClipEncoder, flags: Sequence[str], output: Path) -> JobRun:
    scoring = _TimedScoring(LoadedHandler(encoder), ScoreAesthetic("untrained"), ScoreNsfw("untrained"))
    argv = ["--input", f"{shards.directory}/*.tar", "--output", str(output), "--clip_model", TINY_UNTRAINED, *flags]
    pipeline_options = PipelineOptions(argv)
    options = pipeline_options.view_as(CurationOptions)
    # The flags name the tiny model, so that no weights are looked for; the encoder that is used is the one given.
    curation = dataclasses.replace(prepare(options, time.time()), scoring=scoring)
    claim_output(str(output), curation.job, overwrite=False)
    _RANGE_STARTS.clear()
    started, cpu_started = time.perf_counter(), time.process_time()
    total_bytes = sum(shard.size_bytes for shard in curation.shards)
    running.run_pipeline(pipeline_options, lambda pipeline: curate(pipeline, curation), total_bytes, str(output))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    last_part = max(part.stat().st_mtime for part in (output / "scores").glob("*.parquet"))
    written = sum(tar.stat().st_size for tar in output.glob("*.tar"))
    return JobRun(shards.images, seconds, last_part - min(_RANGE_STARTS), cpu_seconds, written)
