"""Measures what embedding captions adds to embedding their images: the text tower of the same model, and tokenising.

python -m benchmarks.captions
python -m benchmarks.captions --models ViT-B-32-quickgelu --images 128 --repetitions 5

Models have random weights of their own shape. Images go from JPEG bytes to embeddings, captions from texts to
embeddings, in turn, on the same cores: with tokens that are there already, as from threads that decode, and without.
CPU seconds are of all threads, so that what else the machine does makes little difference.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from beam_curator import process_tuning
from beam_curator.models.encoders.caption_encoder import CaptionEncoder, Captions
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.precision import resolve_precision
from beam_curator.models.weights.weights_file import WeightsFile, measured_sha256
from benchmarks import photos
from benchmarks.tables import machine, markdown, usable_cores
from benchmarks.timing import cpu_seconds_of, interleaved, median, spread
from benchmarks.weights import random_checkpoint

IMAGES = {"ViT-B-32-quickgelu": 256, "ViT-L-14-quickgelu": 32}
"""The images that each model gets by default."""

_TEXT = "a photo of the red old small wooden house by lake with two dogs and blue bicycle in front market street"


def captions(count: int) -> list[str]:
    """Captions of 4 to 24 words, as those of the web: they end within the tokens that a short text is read for."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(_TEXT.split(), random.integers(4, 25))) for _ in range(count)]


def measure(
    spec: ClipSpec, weights: WeightsFile | None, jpegs: Sequence[bytes], repetitions: int
) -> dict[str, list[float]]:
    """CPU seconds of each way, one for each repetition."""
    encoder, texts = ClipEncoder(spec), captions(len(jpegs))
    encoding = CaptionEncoder(spec.name, weights, None, spec.device)
    tokens = np.stack([encoding.tokenise(text) for text in texts])
    ways: dict[str, Callable[[], object]] = {
        "images, from JPEG bytes": lambda: encoder.encode(jpegs),
        "captions, from tokens": lambda: encoding.encode(Captions(texts, tokens)),
        "captions, from texts": lambda: encoding.encode(Captions(texts)),
        "tokenising": lambda: [encoding.tokenise(text) for text in texts],
    }
    for work in ways.values():  # warm
        work()
    return interleaved({name: partial(cpu_seconds_of, work) for name, work in ways.items()}, repetitions)


def report(spec: ClipSpec, images: int, seconds: Mapping[str, list[float]]) -> str:
    """The table of one model."""
    (whole, *_) = map(median, seconds.values())
    table = [
        [name, f"{1000 * median(of) / images:.2f}", f"{median(of) / whole:.3f}", spread(of)]
        for name, of in seconds.items()
    ]
    header = [f"{spec.model}, {spec.precision}, {spec.device}", "CPU ms each", "of the images'", "spread"]
    return markdown(header, table)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table for each model."""
    flags = _parse(argv)
    print(machine())
    for model in flags.models:
        shards = photos.shards_of(flags, flags.images or IMAGES.get(model, 64))
        path = random_checkpoint(flags.cache, model)
        weights = WeightsFile(f"{model}/random", str(path), measured_sha256(str(path))) if path else None
        spec = ClipSpec(
            model,
            str(path) if path else None,
            precision=resolve_precision(flags.precision, "cpu"),
            device="cpu",
            batch_size=min(32, shards.images),
            decode_threads=usable_cores(),
        )
        seconds = measure(spec, weights, shards.jpegs(), flags.repetitions)
        print(f"\n{shards}\n\n{report(spec, shards.images, seconds)}", flush=True)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.captions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    photos.add_flags(parser, images=0)
    parser.add_argument("--models", nargs="+", default=list(IMAGES), help="open_clip architectures")
    parser.add_argument("--precision", default="auto", help="of the images' half: auto, fp32 or bf16 (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each way, in turn (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    process_tuning.turn_on()  # as in the command
    sys.exit(main())
