"""Measures what embedding costs beside the model: bare encode_image | ClipEncoder from JPEG bytes | the whole job.

python -m benchmarks.encoder
python -m benchmarks.encoder --models ViT-B-32-quickgelu --images 512 --batch_size 64 --precision fp32

Models have random weights of their own shape. All ways run in one process, in turn, with the same micro-batches,
precision and threads; models are loaded and warm before any clock starts.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from beam_curator import process_tuning
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.precision import resolve_device, resolve_precision
from benchmarks import photos
from benchmarks.bare import bare_kinds, load_bare
from benchmarks.idle import IdleEncoder
from benchmarks.jobs import JobRun, run_job
from benchmarks.photos import PhotoShards
from benchmarks.tables import machine, markdown, usable_cores
from benchmarks.timing import T, figure, interleaved, median, per_second, seconds_of, spread
from benchmarks.weights import random_checkpoint

IMAGES = {"ViT-B-32-quickgelu": 768, "ViT-L-14-quickgelu": 64}
"""The images that each model gets by default: about half a minute of two cores."""


@dataclass(frozen=True)
class Measured:
    """Seconds of each way to embed the same images, one for each repetition."""

    bare: Mapping[str, list[float]]
    decoding: list[float]
    encoder: list[float]
    jobs: list[JobRun]
    start_seconds: float

    @property
    def best_bare(self) -> str:
        """The fastest way to run the bare model: what all others are compared with."""
        return min(self.bare, key=lambda kind: median(self.bare[kind]))


def measure(
    shards: PhotoShards, one: PhotoShards, spec: ClipSpec, repetitions: int, job_flags: Sequence[str]
) -> Measured:
    """Measures all ways, in turn.

    Args:
      shards: the images.
      one: a shard with a single image: a job on it is what a job takes to start and to end.
      spec: of a model, its device and precision resolved.
      repetitions: of each way.
      job_flags: for the main job.
    """
    assert isinstance(spec.batch_size, int)
    encoder, idle = ClipEncoder(spec), IdleEncoder(spec.batch_size, spec.decode_threads, spec.decode)
    bare = _bare_ways(spec, shards.images)
    jpegs = shards.jpegs()
    encoder.encode(jpegs[: spec.batch_size])
    run_job(one, encoder, job_flags)
    jobs: list[JobRun] = []
    ways: dict[str, Callable[[], float]] = {
        **bare,
        "decoding": lambda: seconds_of(lambda: idle.encode(jpegs)),
        "encoder": lambda: seconds_of(lambda: encoder.encode(jpegs)),
        "start": lambda: run_job(one, encoder, job_flags).seconds,
        "job": lambda: _noted(jobs, run_job(shards, encoder, job_flags)),
    }
    seconds = interleaved(ways, repetitions)
    return Measured(
        {kind: seconds[kind] for kind in bare},
        seconds["decoding"],
        seconds["encoder"],
        jobs,
        median(seconds["start"]),
    )


def _bare_ways(spec: ClipSpec, images: int) -> dict[str, Callable[[], float]]:
    """Loads the bare model in each kind of precision; gives, by kind, what runs it on so many images and times it."""
    assert isinstance(spec.batch_size, int)
    checkpoint = Path(spec.checkpoint) if spec.checkpoint else None
    # On the CPU the bare model is up to a tenth faster in a thread that is not the first, whose freed memory is kept.
    bare_thread = ThreadPoolExecutor(1)

    def on_its_thread(work: Callable[[], T]) -> T:
        return bare_thread.submit(work).result()

    bare = {
        kind: on_its_thread(partial(load_bare, spec.name, checkpoint, kind, spec.device, spec.batch_size, spec.compile))
        for kind in bare_kinds(spec.precision, spec.device)
    }
    return {kind: partial(on_its_thread, partial(model.seconds, images)) for kind, model in bare.items()}


def _noted(jobs: list[JobRun], run: JobRun) -> float:
    jobs.append(run)
    return run.seconds


def report(shards: PhotoShards, spec: ClipSpec, measured: Measured) -> str:
    """The table of one model."""
    ways = {
        **{f"bare encode_image, {kind}": seconds for kind, seconds in measured.bare.items()},
        "ClipEncoder from JPEG bytes": measured.encoder,
        "job, first range read to last part written": [run.scoring_seconds for run in measured.jobs],
        f"job, whole, but for its start ({measured.start_seconds:.1f} s)": [
            run.seconds - measured.start_seconds for run in measured.jobs
        ],
        "the same decoding alone, no model": measured.decoding,
    }
    bare = shards.images / median(list(measured.bare[measured.best_bare]))
    rows = []
    for name, seconds in ways.items():
        rate = per_second(shards.images, seconds)
        rows.append([name, figure(rate, 2), figure(rate / bare, 3), spread(seconds)])
    table = markdown([f"{spec.model}, {spec.precision}, {spec.device}", "images/s", "of bare", "spread"], rows)
    return f"{table}\n{_bound(shards, spec, measured, bare)}"


def _bound(shards: PhotoShards, spec: ClipSpec, measured: Measured, bare: float) -> str:
    decoding = shards.images / median(measured.decoding)
    about = f"medians of {len(measured.encoder)}; {shards.images} images, micro-batches of {spec.batch_size}"
    if spec.device == "cuda":
        return f"{about}; decoding alone is {decoding / bare:.2f} of bare: the job cannot be faster than either"
    possible = 1 / (1 / bare + 1 / decoding)
    return (
        f"{about}; decoding and the model share the cores: one after the other, each on all of them, would make "
        f"{possible:.2f} images/s, {possible / bare:.3f} of bare"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table for each model."""
    flags = _parse(argv)
    print(machine())
    one = photos.shards_of(flags, images=1)
    device = resolve_device(flags.device)
    precision = resolve_precision(flags.precision, device)
    for model in flags.models:
        shards = photos.shards_of(flags, flags.images or IMAGES.get(model, 256))
        checkpoint = random_checkpoint(flags.cache, model)
        batch_size = min(flags.batch_size, shards.images)
        spec = ClipSpec(
            model,
            str(checkpoint) if checkpoint else None,
            precision=precision,
            device=device,
            batch_size=batch_size,
            decode_threads=flags.threads,
            compile=flags.compile,
            decode=flags.decode,
        )
        measured = measure(shards, one, spec, flags.repetitions, ("--range_mb", str(flags.range_mb)))
        print(f"\n{shards}; {flags.threads} decode threads\n\n{report(shards, spec, measured)}", flush=True)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encoder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    photos.add_flags(parser, images=0)
    parser.add_argument("--models", nargs="+", default=list(IMAGES), help="open_clip architectures")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--batch_size", type=int, default=32, help="(default %(default)s)")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="that decode (default: one a core)")
    parser.add_argument("--range_mb", type=float, default=64, help="as of the main job (default %(default)s)")
    parser.add_argument("--compile", action="store_true", help="torch.compile, for the bare model as well")
    parser.add_argument("--decode", choices=("exact", "fast"), default="exact", help="(default %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each way, in turn (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    process_tuning.turn_on()  # as in the command
    sys.exit(main())
