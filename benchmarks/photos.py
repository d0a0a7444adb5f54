"""Shards of photograph-like JPEGs, as crawls of the web have them, drawn by code or made from photographs of yours.

python -m benchmarks.photos --images 500        makes them, and says how large they are
"""

import argparse
import hashlib
import io
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.tables import markdown, usable_cores

# (width, height): share. The last is what a phone's picture looks like after a content system has made it smaller.
SIZES = {
    (640, 480): 0.20,
    (480, 640): 0.10,
    (500, 375): 0.15,
    (800, 600): 0.20,
    (1024, 683): 0.15,
    (768, 1024): 0.10,
    (1600, 1200): 0.10,
}
QUALITIES = {75: 0.25, 82: 0.30, 88: 0.30, 95: 0.15}
PROGRESSIVE = 0.2
"""Share of JPEGs that are progressive: they take two to three times as long to decode."""

_LARGEST_DRAWN = 1024
_IMG2DATASET_QUALITY = 95
_VERSION = 1


@dataclass(frozen=True)
class PhotoShards:
    """Shards on disk, and what is in them.

    Attributes:
      directory: of the tars.
      images: in all of them.
      jpeg_bytes: of the images alone.
      pixels: of the images, decoded.
    """

    directory: Path
    images: int
    jpeg_bytes: int
    pixels: int

    @property
    def tars(self) -> list[Path]:
        """The shards, in order."""
        return sorted(self.directory.glob("*.tar"))

    def jpegs(self) -> list[bytes]:
        """All images, encoded, in order."""
        found = []
        for path in self.tars:
            with tarfile.open(path) as tar:
                for member in tar:
                    if member.name.endswith(".jpg") and (file := tar.extractfile(member)):
                        found.append(file.read())
        return found

    def __str__(self) -> str:
        return (
            f"{self.images} JPEGs in {len(self.tars)} shards, {self.jpeg_bytes / self.images / 1e3:.0f} KB and "
            f"{self.pixels / self.images / 1e6:.2f} megapixels each on average, "
            f"{8 * self.jpeg_bytes / self.pixels:.2f} bits a pixel"
        )


def add_flags(parser: argparse.ArgumentParser, images: int) -> None:
    """The flags of every benchmark that takes shards."""
    parser.add_argument("--images", type=int, default=images, help="in the shards (default %(default)s)")
    parser.add_argument("--images_per_shard", type=int, default=500, help="(default %(default)s)")
    parser.add_argument("--photos", type=Path, help="make the shards of the JPEGs in this directory")
    parser.add_argument(
        "--longest_side", type=int, help="make drawn images smaller, as img2dataset does: 256 is its default"
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), help="what is made is kept here (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn images (default %(default)s)")


def default_cache() -> Path:
    """Names the directory in which benchmarks keep shards and weights between runs."""
    return Path(tempfile.gettempdir()) / "beam-curator-benchmarks"


def shards_of(flags: argparse.Namespace, images: int | None = None) -> PhotoShards:
    """The shards that the flags ask for, with another number of images if one is given."""
    return make_shards(
        flags.cache, images or flags.images, flags.images_per_shard, flags.seed, flags.photos, flags.longest_side
    )


def make_shards(
    cache: Path,
    images: int,
    images_per_shard: int = 500,
    seed: int = 0,
    photos: Path | None = None,
    longest_side: int | None = None,
) -> PhotoShards:
    """Shards of so many images, made if they are not in the cache. The same arguments give the same bytes.

    With `photos`, the JPEGs found under it, in the order of their paths, from the beginning again when they run out.
    """
    if photos and longest_side:
        sys.exit("--longest_side is for drawn images: leave it or --photos out")
    drawn = f"seed{seed}-{longest_side}" if longest_side else f"seed{seed}"
    source = f"photos-{_fingerprint(photos)}" if photos else drawn
    directory = cache / "shards" / f"v{_VERSION}-{source}-{images}x{images_per_shard}"
    about = directory / "shards.json"
    if not about.exists():
        _write_shards(
            directory, images_per_shard, _taken(photos, images) if photos else _drawn(images, seed, longest_side)
        )
    return PhotoShards(directory, **json.loads(about.read_text()))


def _fingerprint(photos: Path) -> str:
    """Tells one directory of photographs from another, or from itself after a change."""
    found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _jpeg_paths(photos)]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:12]


def _jpeg_paths(photos: Path) -> list[Path]:
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        sys.exit(f"--photos {photos}: no .jpg or .jpeg file in it")
    return found


def _taken(photos: Path, images: int) -> Iterator[bytes]:
    paths = _jpeg_paths(photos)
    return (paths[index % len(paths)].read_bytes() for index in range(images))


def _drawn(images: int, seed: int, longest_side: int | None) -> Iterator[bytes]:
    with ProcessPoolExecutor(usable_cores()) as pool:
        yield from pool.map(partial(draw_jpeg, seed, longest_side=longest_side), range(images), chunksize=8)


def draw_jpeg(seed: int, index: int, longest_side: int | None = None) -> bytes:
    """The JPEG at an index: a scene in a size and quality that chance picks; with a longest side, made smaller and
    encoded again as img2dataset does by default (JPEG quality 95)."""
    from examples.demo_shards.scenes import SCENES, draw_scene

    rng = np.random.default_rng([seed, index])
    sizes, scenes = list(SIZES), list(SCENES)
    width, height = sizes[int(rng.choice(len(sizes), p=list(SIZES.values())))]
    quality = int(rng.choice(list(QUALITIES), p=list(QUALITIES.values())))
    scale = max(1.0, max(width, height) / _LARGEST_DRAWN)
    scene, _ = draw_scene(scenes[index % len(scenes)], round(width / scale), round(height / scale), rng)
    picture = scene if scale == 1 else _enlarged(scene, width, height, rng)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, progressive=bool(rng.random() < PROGRESSIVE))
    if longest_side:
        smaller = Image.open(file)
        smaller.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS, reducing_gap=None)
        file = io.BytesIO()
        smaller.save(file, "JPEG", quality=_IMG2DATASET_QUALITY)
    return file.getvalue()


def _enlarged(scene: Image.Image, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A larger picture with the grain of a sensor, which enlarging has taken away."""
    large = np.asarray(scene.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, 3, (height, width, 1)).astype(np.float32)
    return Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))


def _write_shards(directory: Path, images_per_shard: int, jpegs: Iterator[bytes]) -> None:
    """Writes the tars and, last, what is in them."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    images = jpeg_bytes = pixels = 0
    shard = 0
    while group := list(islice(jpegs, images_per_shard)):
        with tarfile.open(directory / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for place, jpeg in enumerate(group):
                width, height = Image.open(io.BytesIO(jpeg)).size
                _add_sample(tar, f"{shard:05d}{place:04d}", jpeg, width, height)
                images, jpeg_bytes, pixels = images + 1, jpeg_bytes + len(jpeg), pixels + width * height
        shard += 1
    made = directory / "shards.json.tmp"
    made.write_text(json.dumps({"images": images, "jpeg_bytes": jpeg_bytes, "pixels": pixels}))
    made.replace(directory / "shards.json")


def _add_sample(tar: tarfile.TarFile, key: str, jpeg: bytes, width: int, height: int) -> None:
    """The members that img2dataset writes: an image, its caption, and what is known of it."""
    caption = f"photograph {key}"
    about = json.dumps({"key": key, "caption": caption, "width": width, "height": height}).encode()
    for extension, content in (("jpg", jpeg), ("json", about), ("txt", caption.encode())):
        header = tarfile.TarInfo(f"{key}.{extension}")
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))


def main(argv: Sequence[str] | None = None) -> int:
    """Makes shards and prints what is in them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photos", description=(__doc__ or "").partition("\n")[0])
    add_flags(parser, images=500)
    shards = shards_of(parser.parse_args(argv))
    sizes = [len(jpeg) / 1e3 for jpeg in shards.jpegs()]
    shares = (5, 25, 50, 75, 95)
    row = ["KB", *(f"{np.percentile(sizes, share):.0f}" for share in shares)]
    print(f"{shards.directory}\n{shards}\n")
    print(markdown(["size, percentiles", *(f"{share} %" for share in shares)], [row]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
