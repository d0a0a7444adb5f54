"""`beam-curator demo`: draws sample images and runs the main job on them, without weights or a network."""

from __future__ import annotations

import argparse
import io
import pathlib
import tarfile
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

SAMPLES, SAMPLES_PER_SHARD = 120, 40
_SIDES = (48, 224, 256, 320, 384)  # of the first, the job drops all below --min_width 64


def write_shards(directory: pathlib.Path) -> list[pathlib.Path]:
    """Writes `SAMPLES` samples as WebDataset shards: the same bytes every time.

    Each sample has a `.jpg` and a `.txt` that says what is drawn. One image is cut short and one is no image, so that
    the ledger has failures to show.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shards = []
    for first in range(0, SAMPLES, SAMPLES_PER_SHARD):
        shard = directory / f"{first // SAMPLES_PER_SHARD:05d}.tar"
        with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
            for index in range(first, first + SAMPLES_PER_SHARD):
                for extension, data in _members(index):
                    info = tarfile.TarInfo(f"{index:06d}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        shards.append(shard)
    return shards


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
    return file.getvalue(), f"{count} {shape}{'' if count == 1 else 's'} before a sky of two colours"


def main(argv: Sequence[str] | None = None) -> int:
    """Draws into OUTPUT/raw, curates into OUTPUT/curated; gives the main job's exit code."""
    from beam_curator.commands import curate_images

    parser = argparse.ArgumentParser(prog="beam-curator demo", description=__doc__)
    parser.add_argument("--output", default="demo", help="directory for shards and output (default: %(default)s)")
    parser.add_argument("--only_draw", action="store_true", help="draw the shards, and run no job")
    arguments = parser.parse_args(argv)
    output = pathlib.Path(arguments.output)
    shards = write_shards(output / "raw")
    print(f"Drew {SAMPLES} samples into {len(shards)} shards in {output / 'raw'}")
    if arguments.only_draw:
        return 0
    flags = ["--clip_model", "tiny-untrained", "--min_width", "64", "--samples_per_shard", "50"]
    return curate_images.main(["--input", str(output / "raw" / "*.tar"), "--output", str(output / "curated"), *flags])
