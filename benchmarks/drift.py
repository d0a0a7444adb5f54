"""Measures how far embeddings and scores move when JPEGs are decoded faster, at lower precision, or by a compiled
model.

python -m benchmarks.drift --model_dir models                       OpenAI's ViT-L/14 and LAION's heads
python -m benchmarks.drift --model_dir models --random_weights      the heads on a ViT-L/14 with random weights
python -m benchmarks.drift --device cuda

Each way is compared with the default, image by image: exact decoding, fp32, not compiled.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from beam_curator.defaults import DEFAULT_MODEL, DEFAULT_PRETRAINED, TINY_UNTRAINED
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.precision import resolve_device, resolve_precision
from beam_curator.models.heads.aesthetic import AestheticHead
from beam_curator.models.heads.nsfw import NsfwHead
from beam_curator.models.pixels.decoding import DecodedImage, Decoder
from beam_curator.models.weights.resolving import choose_clip, resolve_aesthetic, resolve_nsfw
from benchmarks import photos
from benchmarks.tables import machine, markdown
from benchmarks.weights import random_checkpoint

Head = Callable[[NDArray[np.float16]], NDArray[np.float32]]
HEADER = ["way", "pixel levels, mean", "cosine, mean", "cosine, least", "hash bits, mean"]


class DecodingEncoder(ClipEncoder):
    """A `ClipEncoder` with a decoder of its own, which notes what it made of each image."""

    def __init__(self, spec: ClipSpec, decode: Callable[[bytes | None], DecodedImage]) -> None:
        super().__init__(dataclasses.replace(spec, decode_threads=1))  # so that images are decoded in their order
        self._decode, self.decoded = decode, list[DecodedImage]()

    def _decoder(self) -> Callable[..., DecodedImage]:
        def noted(data: bytes | None) -> DecodedImage:
            self.decoded.append(self._decode(data))
            return self.decoded[-1]

        return noted


def ways(spec: ClipSpec, compile: bool) -> dict[str, tuple[ClipSpec, Callable[..., DecodedImage]]]:
    """Each way to encode, the default first."""
    exact = Decoder(ClipEncoder(spec).preparation, spec.max_image_pixels)
    found: dict[str, tuple[ClipSpec, Callable[..., DecodedImage]]] = {
        "exact, fp32": (spec, exact),
        "--decode fast": (spec, dataclasses.replace(exact, fast=True)),
    }
    reduced = "bf16" if resolve_precision("auto", spec.device) == "fp32" else resolve_precision("auto", spec.device)
    found[f"--precision {reduced}"] = (dataclasses.replace(spec, precision=reduced), exact)
    if compile:
        found["--compile"] = (dataclasses.replace(spec, compile=True), exact)
    return found


def compare(images: Sequence[bytes], spec: ClipSpec, heads: dict[str, Head], compile: bool) -> list[list[str]]:
    """A row of the table for each way but the default."""
    table: list[list[str]] = []
    expected: tuple[list[DecodedImage], NDArray[np.float16]] | None = None
    for name, (way, decode) in ways(spec, compile).items():
        encoder = DecodingEncoder(way, decode)
        got = encoder.decoded, encoder.encode(images).embeddings
        if expected is None:
            expected = got
            continue
        table.append([name, *_drift(expected, got), *_moved(heads, expected[1], got[1])])
    return table


def _drift(
    expected: tuple[list[DecodedImage], NDArray[np.float16]], got: tuple[list[DecodedImage], NDArray[np.float16]]
) -> list[str]:
    pixels, bits = [], []
    for before, after in zip(expected[0], got[0], strict=True):
        if before.pixels is None or after.pixels is None or not before.facts or not after.facts:
            sys.exit("an image that cannot be decoded: give photographs that can")
        pixels.append(np.abs(after.pixels.astype(int) - before.pixels).mean())
        bits.append((int(before.facts.phash or "", 16) ^ int(after.facts.phash or "", 16)).bit_count())
    a, b = (embeddings.astype(np.float64) for embeddings in (expected[1], got[1]))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return [f"{np.mean(pixels):.2f}", f"{cosines.mean():.5f}", f"{cosines.min():.5f}", f"{np.mean(bits):.2f}"]


def _moved(heads: dict[str, Head], before: NDArray[np.float16], after: NDArray[np.float16]) -> list[str]:
    """Mean and greatest change of each score."""
    cells = []
    for head in heads.values():
        change = np.abs(head(after) - head(before))
        cells += [f"{change.mean():.4f}", f"{change.max():.4f}"]
    return cells


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table."""
    flags = _parse(argv)
    device = resolve_device(flags.device)
    if flags.random_weights or flags.clip_model == TINY_UNTRAINED:
        checkpoint, tag = random_checkpoint(flags.cache, flags.clip_model), None
    else:
        checkpoint, tag = (
            choose_clip(flags.clip_model, flags.clip_pretrained, flags.model_dir).weights.local_path(),
            "openai",
        )
    spec = ClipSpec(
        flags.clip_model,
        str(checkpoint) if checkpoint else None,
        tag,
        precision="fp32",
        device=device,
        batch_size=flags.batch_size,
    )
    heads: dict[str, Head] = {}
    if flags.model_dir:
        heads = {
            "aesthetic": AestheticHead.load(resolve_aesthetic("v2", flags.model_dir).local_path()),
            "nsfw": NsfwHead.load(resolve_nsfw("laion", flags.model_dir).local_path()),
        }
    shards = photos.shards_of(flags)
    header = [*HEADER, *(f"{name}, {what}" for name in heads for what in ("mean", "most"))]
    weights = "random weights" if checkpoint and flags.random_weights else "untrained" if not checkpoint else "trained"
    print(f"{machine()}\n\n{shards}; {flags.clip_model}, {weights}\n")
    print(markdown(header, compare(shards.jpegs(), spec, heads, flags.compile)))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drift", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    photos.add_flags(parser, images=64)
    parser.add_argument("--clip_model", default=DEFAULT_MODEL, help="an open_clip architecture (default %(default)s)")
    parser.add_argument("--clip_pretrained", default=DEFAULT_PRETRAINED, help="tag or checkpoint (default %(default)s)")
    parser.add_argument("--random_weights", action="store_true", help="random weights instead of --clip_pretrained")
    parser.add_argument("--model_dir", help="where weights are; with it, the heads' scores are compared as well")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--batch_size", type=int, default=16, help="(default %(default)s)")
    parser.add_argument("--compile", action="store_true", help="compare torch.compile too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
