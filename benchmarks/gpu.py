"""What a CUDA machine can do: the model alone, the encoder from JPEG bytes, the whole job, decoding, memory, bits.

python -m benchmarks.gpu                              ViT-L/14 on the GPU; needs no network
python -m benchmarks.gpu --device cpu --size tiny     the same tables on the CPU, in seconds: to see that it works
"""

import argparse
import dataclasses
import gc
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beam_curator import process_tuning
from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.precision import resolve_device, resolve_precision
from benchmarks import photos
from benchmarks.bare import bare_kinds, load_bare
from benchmarks.feed import bare_loop
from benchmarks.idle import IdleEncoder
from benchmarks.jobs import run_job
from benchmarks.photos import PhotoShards
from benchmarks.tables import machine, markdown, usable_cores
from benchmarks.timing import figure, median, per_second, seconds_of
from benchmarks.weights import random_checkpoint


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured."""

    model: str
    batch_sizes: tuple[int, ...]
    passes: int
    images: int
    images_per_shard: int


SIZES = {
    "full": Size("ViT-L-14-quickgelu", (32, 64, 128, 256, 512), 20, 8000, 500),
    "tiny": Size(TINY_UNTRAINED, (2, 4), 2, 12, 6),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints each table when it is there."""
    flags = _parse(argv)
    size = SIZES[flags.size]
    device = resolve_device(flags.device)
    precision = resolve_precision("auto", device)
    print(f"{machine()}; {_device_name(device)}", flush=True)
    model = flags.model or size.model
    shards = photos.make_shards(flags.cache, flags.images or size.images, size.images_per_shard, 0, flags.photos)
    one = photos.make_shards(flags.cache, 1, 1, 0, flags.photos)
    checkpoint = random_checkpoint(flags.cache, model)
    print(f"{shards}\n", flush=True)
    ceiling = print_ceiling(model, checkpoint, device, size, compile=not flags.no_compile)
    spec = ClipSpec(
        model,
        str(checkpoint) if checkpoint else None,
        precision=precision,
        device=device,
        batch_size=flags.batch_size or size.batch_sizes[-2],
    )
    print_encoder_and_job(shards, one, spec, ceiling, flags.repetitions, compile=not flags.no_compile)
    print_decode_threads(shards, spec, flags.threads or _powers_of_two(usable_cores()))
    print_memory(spec, shards.jpegs()[: size.batch_sizes[-1]], size.batch_sizes)
    print_identity(spec, shards.jpegs()[: 2 * size.batch_sizes[-1]], size.batch_sizes)
    return 0


def print_ceiling(model: str, checkpoint: Path | None, device: str, size: Size, compile: bool) -> dict[bool, float]:
    """The model alone, for each batch size and each way to run it; the best rate without and with torch.compile."""
    ways = [(kind, False) for precision in ("fp32", "bf16", "fp16") for kind in _kinds(precision, device)]
    ways += [(kind, True) for kind in _kinds("bf16", device) if compile]
    best: dict[bool, float] = {}
    rows: list[list[str]] = [[str(batch_size)] for batch_size in size.batch_sizes]
    for kind, compiled in ways:
        for row, batch_size in zip(rows, size.batch_sizes, strict=True):
            rate = _ceiling_rate(model, checkpoint, kind, device, batch_size, size.passes, compiled)
            row.append(rate if isinstance(rate, str) else f"{rate:.0f}")
            if isinstance(rate, float):
                best[compiled] = max(best.get(compiled, 0.0), rate)
            _free(device)
    header = [f"{model} alone, images/s; batch", *(f"{kind}{', compiled' * compiled}" for kind, compiled in ways)]
    print(f"{markdown(header, rows)}\n", flush=True)
    return best


def _kinds(precision: str, device: str) -> Sequence[str]:
    return () if precision == "fp16" and device == "cpu" else bare_kinds(precision, device)


def _ceiling_rate(
    model: str, checkpoint: Path | None, kind: str, device: str, batch_size: int, passes: int, compile: bool
) -> float | str:
    """Images per second, or why there is none."""
    images = passes * batch_size
    try:
        bare = load_bare(model, checkpoint, kind, device, batch_size, compile)
        return images / median([bare.seconds(images) for _ in range(3)])
    except torch.OutOfMemoryError:
        return "out of memory"
    except Exception as error:  # torch.compile needs compilers that a machine may lack
        if not compile:
            raise
        return f"not compiled: {type(error).__name__}"


def print_encoder_and_job(
    shards: PhotoShards, one: PhotoShards, spec: ClipSpec, ceiling: dict[bool, float], repetitions: int, compile: bool
) -> None:
    """ClipEncoder from JPEG bytes, and the whole job, as they are, compiled, and with faster decoding."""
    jpegs, batch_size = shards.jpegs(), micro_batch(spec)
    rows = []
    ways: list[dict[str, Any]] = [{}, {"decode": "fast"}]
    ways += [{"compile": True}, {"compile": True, "decode": "fast"}] if compile else []
    for changes in ways:
        encoder = ClipEncoder(dataclasses.replace(spec, **changes))
        encoder.encode(jpegs[:batch_size])
        run_job(one, encoder)
        encodes, jobs, starts = [], [], []
        for _ in range(repetitions):
            encodes.append(seconds_of(partial(encoder.encode, jpegs)))
            starts.append(run_job(one, encoder).seconds)
            jobs.append(run_job(shards, encoder))
        best = ceiling.get("compile" in changes, max(ceiling.values()))
        scoring, whole = [job.scoring_seconds for job in jobs], [job.seconds - median(starts) for job in jobs]
        for name, seconds in (("ClipEncoder", encodes), ("job, scoring", scoring), ("job, whole but start", whole)):
            rate = per_second(shards.images, seconds)
            rows.append([", ".join([name, *changes]), figure(rate, 0), figure(rate / best, 3)])
        del encoder
        _free(spec.device)
    print(markdown([f"{spec.precision}, micro-batches of {spec.batch_size}", "images/s", "of the model alone"], rows))
    print(f"medians of {repetitions}; {shards.images} images\n", flush=True)


def print_decode_threads(shards: PhotoShards, spec: ClipSpec, threads: Sequence[int]) -> None:
    """What the cores can decode: by a bare loop, and by the encoder without a model, exact and with JPEG draft."""
    jpegs = shards.jpegs()
    rows = []
    for count in threads:
        bare = len(jpegs) / bare_loop(jpegs, count)
        exact, fast = (
            len(jpegs) / seconds_of(partial(IdleEncoder(micro_batch(spec), count, decode).encode, jpegs))
            for decode in ("exact", "fast")
        )
        rows.append([str(count), f"{bare:.0f}", f"{exact:.0f}", f"{exact / bare:.2f}", f"{fast:.0f}"])
    header = ["decode threads", "bare loop, images/s", "encoder without a model", "of the loop"]
    header += ["with --decode fast"]
    print(f"{markdown(header, rows)}\n", flush=True)


def print_memory(spec: ClipSpec, jpegs: Sequence[bytes], batch_sizes: Sequence[int]) -> None:
    """The most memory of the device that each micro-batch size takes; nothing on the CPU."""
    if spec.device != "cuda":
        print("peak memory of the device: not measured on the CPU\n")
        return
    rows = []
    for batch_size in batch_sizes:
        _free(spec.device)
        torch.cuda.reset_peak_memory_stats()
        encoder = ClipEncoder(dataclasses.replace(spec, batch_size=batch_size))
        encoder.encode(jpegs[:batch_size])
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        rows.append([str(batch_size), f"{allocated / 1e9:.2f} GB", f"{reserved / 1e9:.2f} GB"])
        del encoder
    print(f"{markdown(['micro-batch', 'peak allocated', 'peak reserved'], rows)}\n", flush=True)


def print_identity(spec: ClipSpec, jpegs: Sequence[bytes], batch_sizes: Sequence[int]) -> None:
    """How many embeddings change a bit when an image has other neighbours, or the micro-batch another size."""
    usual = _embeddings(spec, jpegs)
    rng = np.random.default_rng(0)
    rows = []
    for name, order in {
        "the same again": np.arange(len(jpegs)),
        "in reverse": np.arange(len(jpegs))[::-1],
        "in random order": rng.permutation(len(jpegs)),
        "every second image only": np.arange(0, len(jpegs), 2),
    }.items():
        found = _embeddings(spec, [jpegs[index] for index in order])
        rows.append([name, *_differing(found, usual[order])])
    for batch_size in batch_sizes:
        if batch_size != spec.batch_size:
            found = _embeddings(dataclasses.replace(spec, batch_size=batch_size), jpegs)
            rows.append([f"micro-batches of {batch_size}", *_differing(found, usual)])
    header = [f"float16 embeddings, {spec.precision}, against micro-batches of {spec.batch_size}"]
    print(f"{markdown([*header, 'embeddings that differ', 'most in a number'], rows)}\n", flush=True)


def _embeddings(spec: ClipSpec, jpegs: Sequence[bytes]) -> np.ndarray:
    found = ClipEncoder(spec).encode(jpegs).embeddings
    _free(spec.device)
    return found


def _differing(found: np.ndarray, usual: np.ndarray) -> tuple[str, str]:
    count = int((found.view(np.uint16) != usual.view(np.uint16)).any(axis=1).sum())
    most = float(np.abs(found.astype(np.float32) - usual.astype(np.float32)).max())
    return f"{count} of {len(usual)}", f"{most:.1e}"


def micro_batch(spec: ClipSpec) -> int:
    """Images in a micro-batch, which a benchmark always says outright."""
    assert isinstance(spec.batch_size, int)
    return spec.batch_size


def _free(device: str) -> None:
    gc.collect()
    torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()


def _device_name(device: str) -> str:
    if device != "cuda":
        return "no GPU used"
    about = torch.cuda.get_device_properties(0)
    return f"{about.name}, {about.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"


def _powers_of_two(most: int) -> list[int]:
    return sorted({1 << power for power in range(most.bit_length())} | {most})


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="how much (default %(default)s)")
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default %(default)s)")
    parser.add_argument("--model", help="an open_clip architecture, in place of the size's own")
    parser.add_argument("--images", type=int, help="in place of the size's own number")
    parser.add_argument("--batch_size", type=int, help="of the encoder and the job")
    parser.add_argument("--threads", type=int, nargs="+", help="decode threads to try (1, 2, 4, ... all cores)")
    parser.add_argument("--no_compile", action="store_true", help="leave out all that goes through torch.compile")
    parser.add_argument("--repetitions", type=int, default=3, help="(default %(default)s)")
    parser.add_argument("--photos", type=Path, help="make the shards of the JPEGs in this directory")
    parser.add_argument("--cache", type=Path, default=photos.default_cache(), help="(default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    process_tuning.turn_on()  # as in the command
    sys.exit(main())
