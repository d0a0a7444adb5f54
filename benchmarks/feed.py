"""Measures how fast one process can feed a model: the whole job with an encoder that does no work, against a bare
decode loop.

python -m benchmarks.feed

The bare loop has the images in memory, and decodes, resizes and crops them with Pillow, in as many threads as the job.
The job reads its shards, hashes and decodes, keeps the ledger, writes score parts, and copies what it keeps.
"""

import argparse
import hashlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from beam_curator import images, process_tuning
from beam_curator.models.encoders.clip import ClipEncoder
from beam_curator.models.pixels.torch_resizing import fast_preprocess
from benchmarks import photos
from benchmarks.idle import IdleEncoder
from benchmarks.jobs import JobRun, run_job
from benchmarks.photos import PhotoShards
from benchmarks.tables import machine, markdown, usable_cores
from benchmarks.timing import figure, interleaved, median, per_second, seconds_of, spread

IMAGE_SIZE = 224
INPUT = images.Preparation(IMAGE_SIZE)


def decode_and_resize(jpeg: bytes) -> np.ndarray:
    """Does what no pipeline can do without: gives uint8 [224, 224, 3]."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    scale = IMAGE_SIZE / min(image.size)
    width, height = (max(IMAGE_SIZE, int(side * scale)) for side in image.size)
    left, top = round((width - IMAGE_SIZE) / 2), round((height - IMAGE_SIZE) / 2)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE)))


def bare_loop(jpegs: Sequence[bytes], threads: int) -> float:
    """Seconds that a pool of threads takes for nothing but that."""
    with ThreadPoolExecutor(threads) as pool:
        return seconds_of(lambda: [None for _ in pool.map(decode_and_resize, jpegs)])


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints the tables."""
    flags = _parse(argv)
    print(machine())
    shards, one = photos.shards_of(flags), photos.shards_of(flags, images=1)
    print(f"{shards}; {flags.threads} decode threads, micro-batches of {flags.batch_size}\n")
    encoder = IdleEncoder(flags.batch_size, flags.threads, flags.decode)
    job_flags = ("--range_mb", str(flags.range_mb))
    jpegs = shards.jpegs()
    run_job(one, encoder, job_flags)  # what is imported and made once
    loops: list[float] = []
    starts: list[JobRun] = []
    jobs: list[JobRun] = []
    encodes: list[float] = []
    interleaved(
        {
            "bare": lambda: loops.append(bare_loop(jpegs, flags.threads)),
            "encoder": lambda: encodes.append(seconds_of(lambda: encoder.encode(jpegs))),
            "start": lambda: starts.append(run_job(one, encoder, job_flags)),
            "job": lambda: jobs.append(run_job(shards, encoder, job_flags)),
        },
        flags.repetitions,
    )
    start = median([run.seconds for run in starts])
    _print_rates(shards, flags.threads, loops, encodes, jobs, start)
    _print_costs(shards, jpegs[: flags.cost_images], encoder, jobs, starts)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.feed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    photos.add_flags(parser, images=2000)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="that decode (default: one a core)")
    parser.add_argument("--batch_size", type=int, default=256, help="(default %(default)s)")
    parser.add_argument("--range_mb", type=float, default=64, help="as of the main job (default %(default)s)")
    parser.add_argument(
        "--decode", choices=("exact", "fast"), default="exact", help="of all but the loop (default %(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=5, help="of each way, in turn (default %(default)s)")
    parser.add_argument("--cost_images", type=int, default=200, help="for what an image costs (default %(default)s)")
    return parser.parse_args(argv)


def _print_rates(
    shards: PhotoShards, threads: int, loops: list[float], encodes: list[float], jobs: list[JobRun], start: float
) -> None:
    bare = shards.images / median(loops)
    ways = {
        "bare decode and resize": loops,
        "ClipEncoder without a model": encodes,
        "job, first range read to last part written": [run.scoring_seconds for run in jobs],
        f"job, whole, but for its start ({start:.1f} s)": [run.seconds - start for run in jobs],
        "job, whole": [run.seconds for run in jobs],
    }
    rows = []
    for name, seconds in ways.items():
        rate = per_second(shards.images, seconds)
        rows.append([name, figure(rate, 1), figure(rate / threads, 1), figure(rate / bare, 3), spread(seconds)])
    print(markdown(["", "images/s", "images/s a core", "of bare", "spread"], rows))
    print(f"medians of {len(loops)}; the job kept and copied {jobs[0].output_bytes / 1e6:.0f} MB\n")


def _print_costs(
    shards: PhotoShards, jpegs: Sequence[bytes], encoder: ClipEncoder, jobs: list[JobRun], starts: list[JobRun]
) -> None:
    """Prints what an image costs, in milliseconds of one core: the parts by themselves, then the whole job."""
    pictures = [images.decode(jpeg)[0] for jpeg in jpegs]
    parts: dict[str, Callable[[], object]] = {
        "bare decode and resize": lambda: [decode_and_resize(jpeg) for jpeg in jpegs],
        "Pillow: open and decode": lambda: [Image.open(io.BytesIO(jpeg)).load() for jpeg in jpegs],
        "images.preprocess: resize, crop, RGB": lambda: [images.preprocess(p, INPUT) for p in pictures],
        "models.fast_preprocess: the same by torch": lambda: [fast_preprocess(p, INPUT) for p in pictures],
        "images.picture_hashes": lambda: [images.picture_hashes(picture) for picture in pictures],
        "sha256": lambda: [hashlib.sha256(jpeg).digest() for jpeg in jpegs],
        "images.decode: all of it, but resizing": lambda: [images.decode(jpeg) for jpeg in jpegs],
        "ClipEncoder without a model": lambda: encoder.encode(jpegs),
    }
    costs = {name: median([_cpu_seconds(work) for _ in range(3)]) / len(jpegs) for name, work in parts.items()}
    job = (median([run.cpu_seconds for run in jobs]) - median([run.cpu_seconds for run in starts])) / shards.images
    costs["whole job, but for its start"] = job
    bare = costs["bare decode and resize"]
    rows = [[name, f"{1e3 * cost:.2f}", f"{cost / bare:.2f}"] for name, cost in costs.items()]
    print(markdown(["CPU time", "ms an image", "times bare"], rows))


def _cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    process_tuning.turn_on()  # as in the command
    sys.exit(main())
