"""`beam-curator demo`: draws sample images and runs the main job on them, without weights or a network."""

from __future__ import annotations

import argparse
import contextlib
import io
import pathlib
import sys
import tarfile
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from beam_curator.commands.flags import PROGRAM, Parser, refuse_empty, refuse_slips
from beam_curator.errors import UsageError
from beam_curator.first_few import counted

_WHAT = """Draws sample images, and runs the main job on them with an untrained model: no weights, no network.

    beam-curator demo
"""

SAMPLES, SAMPLES_PER_SHARD = 120, 40
_SIDES = (48, 224, 256, 320, 384)  # of the first, the job drops all below --min_width 64


def write_shards(directory: pathlib.Path) -> list[pathlib.Path]:
    """Writes `SAMPLES` samples as WebDataset shards: the same bytes every time.

    Each sample has a `.jpg` and a `.txt` that says what is drawn. One image is cut short and one is no image, so that
    the ledger has failures to show.

    Raises:
      UsageError: the directory cannot be written, or has another file of a shard's name.
    """
    drawn = {
        directory / f"{first // SAMPLES_PER_SHARD:05d}.tar": _shard(range(first, first + SAMPLES_PER_SHARD))
        for first in range(0, SAMPLES, SAMPLES_PER_SHARD)
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        missing = [shard for shard, data in drawn.items() if not _stands(shard, data)]
        for shard in missing:
            whole = shard.with_suffix(".part")
            whole.write_bytes(drawn[shard])
            whole.rename(shard)
    except OSError as error:
        where = f"{error.filename or directory}: {error.strerror}"
        raise UsageError(f"cannot write the demo's shards: {where}: give another --output") from error
    return list(drawn)


def _stands(shard: pathlib.Path, data: bytes) -> bool:
    if not shard.exists():
        return False
    if shard.read_bytes() != data:
        raise UsageError(f"{shard} is there, and is not what the demo draws: give another --output")
    return True


def _shard(indices: Sequence[int]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in indices:
            for extension, data in _members(index):
                info = tarfile.TarInfo(f"{index:06d}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _members(index: int) -> Iterator[tuple[str, bytes]]:
    jpeg, caption = _drawn(index)
    if index == SAMPLES // 2:
        jpeg = jpeg[: len(jpeg) // 2]
    elif index == SAMPLES - 1:
        jpeg = b"<html>404 Not Found</html>"
    yield "jpg", jpeg
    yield "txt", caption.encode()


def _drawn(index: int) -> tuple[bytes, str]:
    """An image in JPEG, and what is on it: some discs or bars before a sky of two colours."""
    rng = np.random.default_rng(index)
    width, height = (int(side) for side in rng.choice(_SIDES, 2))
    top, bottom = rng.integers(0, 256, (2, 3))
    weight = np.linspace(0, 1, height)[:, None, None]
    sky = np.broadcast_to(top * (1 - weight) + bottom * weight, (height, width, 3))
    image = Image.fromarray(np.ascontiguousarray(sky.astype(np.uint8)))
    pen, shape, count = ImageDraw.Draw(image), rng.choice(["disc", "bar"]), int(rng.integers(1, 7))
    for _ in range(count):
        x, y, side = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.1, 0.4) * min(width, height)
        box = (x - side, y - side, x + side, y + side)
        fill = tuple(int(level) for level in rng.integers(0, 256, 3))
        (pen.ellipse if shape == "disc" else pen.rectangle)(box, fill=fill)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue(), f"{counted(count, shape)} before a sky of two colours"


def main(argv: Sequence[str] | None = None) -> int:
    """Draws into OUTPUT/raw, curates into OUTPUT/curated; gives the main job's exit code, 2 for bad usage."""
    try:
        parser = _parser()
        refuse_slips(parser, sys.argv[1:] if argv is None else argv)
        flags = parser.parse_args(argv)
        refuse_empty(parser, flags)
        output = pathlib.Path(flags.output)
        shards = write_shards(output / "raw")
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    print(f"Drew {SAMPLES} samples into {counted(len(shards), 'shard')} in {output / 'raw'}", flush=True)
    return 0 if flags.only_draw else _curate(shards, output / "curated", ends_process=argv is None)


def _parser() -> Parser:
    parser = Parser(
        prog=f"{PROGRAM} demo",
        description=_WHAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output", metavar="DIR", default="demo", help="directory for shards and output (default: %(default)s)"
    )
    parser.add_argument("--only_draw", action="store_true", help="draw the shards, and run no job")
    return parser


def _curate(shards: Sequence[pathlib.Path], output: pathlib.Path, ends_process: bool) -> int:
    from beam_curator.commands import curate_images, interruption  # which import torch and Beam: seconds

    flags = ["--clip_model", "tiny-untrained", "--min_width", "64", "--samples_per_shard", "50"]
    inputs = [word for shard in shards for word in ("--input", str(shard))]
    with interruption.ends_process(PROGRAM) if ends_process else contextlib.nullcontext():
        return curate_images.main([*inputs, "--output", str(output), *flags])
