"""Shards as img2dataset writes them: a tar of image, caption and fields, and Parquet with all rows beside it."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def write_downloads(directory, samples, shards=3):
    """Writes `samples` samples into shards 00000.tar, ...; the images differ."""
    directory.mkdir(parents=True)
    each = samples // shards
    for shard in range(shards):
        rows = [_row(shard, index, shard * each + index) for index in range(each)]
        with tarfile.open(directory / f"{shard:05d}.tar", "w") as tar:
            for row, image in rows:
                for extension, data in (
                    ("jpg", image),
                    ("txt", row["caption"].encode()),
                    ("json", json.dumps(row).encode()),
                ):
                    member = tarfile.TarInfo(f"{row['key']}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        pq.write_table(pa.Table.from_pylist([row for row, _ in rows]), directory / f"{shard:05d}.parquet")
        (directory / f"{shard:05d}_stats.json").write_text(json.dumps({"count": each, "successes": each}))


def picture(number):
    """A JPEG file; each number gives another one."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((96 + number, 64), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def _row(shard, index, number):
    image = picture(number)
    row = {
        "key": f"{shard:05d}{index:04d}",
        "url": f"https://pictures.example/{number}.jpg",
        "caption": f"picture number {number}",
        "status": "success",
        "width": 96 + number,
        "height": 64,
        "exif.width": 96 + number,
        "uid": hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(image).hexdigest(),
    }
    return row, image
