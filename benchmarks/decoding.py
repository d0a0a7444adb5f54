"""Measures what one core decodes, resizes and crops, and how far its pixels are from Pillow's: exact, fast, and other
libraries.

python -m benchmarks.decoding

Each way makes the input of OpenAI's CLIP of a JPEG: RGB, its shorter side 224 pixels, bicubic, the centre. Of a library
that has no filter like Pillow's, which looks at all pixels where it makes a picture smaller, the decoder alone is
taken, and torch resizes. A library that is not installed is left out, and said so:

pip install opencv-python-headless imagecodecs 'pyvips[binary]' kornia-rs hf-processors-rs nvidia-dali-cuda120

It measures CPU time, of one thread where a library can be told so.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from beam_curator import images, process_tuning
from beam_curator.models.encoders.settings import EXACT, FAST
from beam_curator.models.pixels.decoding import Decoder
from beam_curator.models.pixels.torch_resizing import fast_preprocess, resized_levels
from benchmarks import decoding_peers, photos
from benchmarks.decoding_peers import INPUT, Pixels
from benchmarks.tables import machine, markdown
from benchmarks.timing import interleaved, median

Way = Callable[[Sequence[bytes]], Sequence[Pixels]]
"""JPEGs -> uint8 [224, 224, 3] of each."""

HEADER = ["", "ms an image", "images/s a core", "of exact", "levels, most", "levels, mean", "levels that differ"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table for each size of images."""
    flags = _parse(argv)
    torch.set_num_threads(1)
    print(machine())
    ways, missing = _ways()
    for longest_side in (None, 256):
        shards = photos.make_shards(flags.cache, flags.images, 500, flags.seed, flags.photos, longest_side)
        jpegs = shards.jpegs()
        print(f"\n{shards}\n\n{markdown(HEADER, table(ways, jpegs, flags.repetitions))}", flush=True)
        if flags.photos:
            break
    print("".join(f"\n{name}: left out: {why}" for name, why in missing.items()))
    return 0


def _ways() -> tuple[dict[str, Way], dict[str, str]]:
    """Each way by its name, the exact one first; and why others are left out."""
    ways: dict[str, Way] = {
        "exact: Pillow": _each(_exact),
        "fast: simplejpeg, torch's resize": _each(_fast),
        "Pillow, torch's resize": _each(lambda jpeg: fast_preprocess(Image.open(io.BytesIO(jpeg)), INPUT)),
    }
    missing: dict[str, str] = {}
    for name, make in decoding_peers.PEERS.items():
        try:
            ways[name] = make()
        except Exception as error:  # whatever another's library raises where it does not work
            missing[name] = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for decode in (EXACT, FAST):
        ways[f"--decode {decode}: with header, hashes, sha256"] = _each(_whole(Decoder(INPUT, 1 << 28, decode == FAST)))
    return ways, missing


def _each(make: Callable[[bytes], Pixels]) -> Way:
    return lambda jpegs: [make(jpeg) for jpeg in jpegs]


def _exact(jpeg: bytes) -> Pixels:
    return images.preprocess(Image.open(io.BytesIO(jpeg)), INPUT)


def _fast(jpeg: bytes) -> Pixels:
    levels = images.jpeg_levels(Image.open(io.BytesIO(jpeg)), jpeg)
    assert levels is not None, "a JPEG that is not plainly whole: give others"
    return resized_levels(levels, INPUT)


def _whole(decoder: Decoder) -> Callable[[bytes], Pixels]:
    def decode(jpeg: bytes) -> Pixels:
        pixels = decoder(jpeg).pixels
        assert pixels is not None, "a JPEG that cannot be decoded: give others"
        return pixels

    return decode


def table(ways: Mapping[str, Way], jpegs: Sequence[bytes], repetitions: int) -> list[list[str]]:
    """A row for each way."""
    made = {name: way(jpegs) for name, way in ways.items()}
    expected = next(iter(made.values()))
    timed = interleaved({name: _timer(way, jpegs) for name, way in ways.items()}, repetitions)
    seconds = {name: median(times) / len(jpegs) for name, times in timed.items()}
    exact = next(iter(seconds.values()))
    return [
        [name, f"{1e3 * one:.2f}", f"{1 / one:.0f}", f"{exact / one:.2f}", *_drift(expected, made[name])]
        for name, one in seconds.items()
    ]


def _timer(way: Way, jpegs: Sequence[bytes]) -> Callable[[], float]:
    def cpu_seconds() -> float:
        started = time.process_time()
        way(jpegs)
        return time.process_time() - started

    return cpu_seconds


def _drift(expected: Sequence[Pixels], found: Sequence[Pixels]) -> list[str]:
    """The most that a level differs, the mean of all, and how many do."""
    differences = [np.abs(a.astype(np.int16) - b) for a, b in zip(expected, found, strict=True)]
    most = max(int(one.max()) for one in differences)
    mean, share = np.mean([(one.mean(), (one > 0).mean()) for one in differences], axis=0)
    return [str(most), f"{mean:.4f}", f"{100 * share:.2f} %"]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decoding", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    photos.add_flags(parser, images=200)
    parser.add_argument("--repetitions", type=int, default=3, help="of each way, in turn (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    process_tuning.turn_on()  # as in the command
    process_tuning.keep_freed_memory()
    sys.exit(main())
