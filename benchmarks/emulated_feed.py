"""Emulates how many images a second one process's Python can feed to a GPU, with more cores than there are here.

python -m benchmarks.emulated_feed

What the decoders' C does without Python's lock (the GIL) is slept; all Python is real: the stream, its threads, the
facts of an image, and each time that the lock is let go and taken again. Images are so small that their own decoding
is next to nothing. The GPU is a sleep as well. So two cores show where the Python of one process ends, whatever cores
and GPU there are: pessimistic, as Python's threads share two cores with nothing else to do.

With several processes each has its share of the threads, as workers that share a GPU by MPS have. More processes than
there are real cores show no more.
"""

import argparse
import dataclasses
import io
import itertools
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from beam_curator import images
from beam_curator.images import Preparation
from beam_curator.models.encoders.cuda_stream import DeviceStream, images_at_once
from beam_curator.models.encoders.device_model import PendingEmbeddings
from beam_curator.models.encoders.settings import EXACT, FAST
from beam_curator.models.pixels.decoding import DecodedImage, Decoder
from benchmarks.idle import IdleModel
from benchmarks.tables import machine, markdown

BATCH_SIZE = 256
INPUT = Preparation(32)
_C_SECONDS = {EXACT: 6.5e-3, FAST: 3.7e-3}
"""The seconds that Pillow's C takes for 0.55 megapixels, with hashes; and fast decoding's. On an Intel Xeon."""

SLOW = {"none": (0, 0.0), "1 in 1,000 takes 1 s": (1000, 1.0), "1 in 100 takes 90 ms": (100, 0.09)}
"""Every how many images, and for how long."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The machine and the images that are emulated.

    Attributes:
      threads: that decode, each as if it had a core.
      decode: how images are decoded.
      slow: one of `SLOW`.
      gpu: images a second of the model.
      images: how many go through.
      processes: that the threads are divided among.
      at_once: images that a thread decodes at a time; 0 for as many as the encoder's threads do.
    """

    threads: int
    decode: str
    slow: str
    gpu: float
    images: int
    processes: int = 1
    at_once: int = 0


class SleepingModel(IdleModel):
    """Takes a pass when the one before is done, and sleeps where a GPU computes."""

    def __init__(self, batch_size: int, images_per_second: float) -> None:
        super().__init__(8, INPUT, batch_size)
        self._seconds = batch_size / images_per_second
        self._free_at = 0.0

    def run(self, pixels: torch.Tensor) -> PendingEmbeddings:
        """Computes the pass as if the device took it up at once, or after the one before."""
        self._free_at = max(self._free_at, time.perf_counter()) + self._seconds
        return _Computing(super().run(pixels).values, None, 0, self._free_at)


@dataclasses.dataclass(frozen=True)
class _Computing(PendingEmbeddings):
    done_at: float = 0.0

    def wait(self) -> np.ndarray:
        time.sleep(max(0.0, self.done_at - time.perf_counter()))
        return super().wait()


def emulated_decoder(decode: str, slow: str) -> Callable[..., DecodedImage]:
    """Our decoder, which sleeps as long as its C would take for an image as the web has them."""
    decoder, seconds = Decoder(INPUT, 1 << 28, decode == FAST), _C_SECONDS[decode]
    every, slow_seconds = SLOW[slow]

    def decoded(data: bytes, watch: images.Encoded | None = None) -> DecodedImage:
        found = decoder(data)
        is_slow = every and int.from_bytes(data[-4:], "big") % every == 0
        time.sleep(slow_seconds if is_slow else seconds)
        return found

    return decoded


def small_jpegs(count: int) -> list[bytes]:
    """JPEGs of 40 x 32 pixels, each with its number behind its end, and so much beside it that `hashlib` lets the lock
    go."""
    stream = io.BytesIO()
    Image.effect_noise((40, 32), 60).convert("RGB").save(stream, "JPEG")
    return [stream.getvalue() + bytes(2500) + number.to_bytes(4, "big") for number in range(1, count + 1)]


@dataclasses.dataclass(frozen=True)
class Fed:
    """The result of feeding: images a second, and for each image how often a thread of the process was set aside, and
    how long Python ran."""

    per_second: float
    switches: float
    cpu_ms: float


def feed(setting: Setting) -> Fed:
    """Feeds images in one process, with threads, a stream and a model of its own."""
    torch.set_num_threads(1)
    jpegs = small_jpegs(setting.images)
    pool = ThreadPoolExecutor(setting.threads)
    model = SleepingModel(BATCH_SIZE, setting.gpu)
    at_once = setting.at_once or images_at_once(BATCH_SIZE, setting.threads)
    decode = emulated_decoder(setting.decode, setting.slow)
    stream = DeviceStream(model, decode, pool, images_at_once=at_once)
    stream.submit(jpegs[: setting.threads]).result()  # threads are started
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for one in [stream.submit(jpegs[start : start + 500]) for start in range(0, len(jpegs), 500)]:
        one.result()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    pool.shutdown()
    switches = sum(getattr(after, name) - getattr(before, name) for name in ("ru_nvcsw", "ru_nivcsw"))
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return Fed(len(jpegs) / seconds, switches / len(jpegs), 1e3 * cpu / len(jpegs))


def feed_by_processes(setting: Setting) -> Fed:
    """All processes at a time, which share the GPU and the threads; forks of this one, which computes nothing."""
    count = setting.processes
    share = dataclasses.replace(
        setting,
        threads=max(1, setting.threads // count),
        gpu=setting.gpu / count,
        images=setting.images // count,
        processes=1,
    )
    with multiprocessing.get_context("fork").Pool(count) as pool:
        found = pool.map(feed, [share] * count, 1)
    switches, cpu_ms = (sum(getattr(one, name) for one in found) / count for name in ("switches", "cpu_ms"))
    return Fed(sum(one.per_second for one in found), switches, cpu_ms)


def main(argv: Sequence[str] | None = None) -> int:
    """Emulates, and prints the table."""
    flags = _parse(argv)
    print(f"{machine()}\n\nimages/s, of {flags.gpu:.0f} that the GPU could do; {flags.images} images\n")
    header = ["decoding", "slow images", "at once", "processes", "threads", "images/s", "cores' limit"]
    header += ["switches an image", "CPU, ms an image"]
    ways = itertools.product(flags.decode, flags.slow, flags.at_once, flags.processes, flags.threads)
    rows = []
    for decode, slow, at_once, processes, threads in ways:
        fed = feed_by_processes(Setting(threads, decode, slow, flags.gpu, flags.images, processes, at_once))
        row = [decode, slow, str(at_once or "auto"), str(processes), str(threads), f"{fed.per_second:.0f}"]
        rows.append([*row, f"{threads / _C_SECONDS[decode]:.0f}", f"{fed.switches:.1f}", f"{fed.cpu_ms:.2f}"])
    print(markdown(header, rows))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.emulated_feed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[8, 16, 26, 48], help="(default %(default)s)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="(default %(default)s)")
    parser.add_argument(
        "--at_once", type=int, nargs="+", default=[0], help="images that a thread decodes at a time (as the encoder's)"
    )
    parser.add_argument("--decode", nargs="+", choices=(EXACT, FAST), default=[EXACT, FAST], help="(both)")
    parser.add_argument("--slow", nargs="+", choices=list(SLOW), default=list(SLOW), help="(all)")
    parser.add_argument("--gpu", type=float, default=3000, help="images a second of the model (default %(default)s)")
    parser.add_argument("--images", type=int, default=4000, help="(default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
