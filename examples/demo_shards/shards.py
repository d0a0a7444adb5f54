"""Demo samples into WebDataset tar shards, the last of them cut."""

import io
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from beam_curator.errors import UsageError
from beam_curator.first_few import listed
from examples.demo_shards.planting import COUNTS, DemoSize, Planted, plan
from examples.demo_shards.samples import DemoSample, build_sample

_SHARD_NAME = re.compile(r"\d{5}\.tar")
# The owner's name in every tar header: how a shard of ours is told from a user's own 00000.tar.
_OWNER = "beam-curator-demo"
_OWNER_FIELD = slice(265, 297)


@dataclass(frozen=True)
class DemoShards:
    """The shards that were written. `samples` counts the ones lost to the cut as well, `readable` does not."""

    paths: tuple[Path, ...]
    samples: int
    readable: int
    size_bytes: int
    planted: dict[Planted, int]


def write_demo_shards(output: Path, demo: DemoSize) -> DemoShards:
    """Write 00000.tar and so on into the folder `output`, in place of the demo shards already there."""
    _clear_own_shards(output)
    plants = plan(demo)
    paths = []
    for shard in range(demo.shards):
        first = shard * demo.samples_per_shard
        indices = range(first, first + demo.samples_per_shard)
        samples = (build_sample(demo, index, plants.get(index)) for index in indices)
        path = output / f"{shard:05d}.tar"
        middles = _write_shard(path, samples)
        paths.append(path)
    with paths[-1].open("rb+") as last:
        last.truncate(middles[demo.readable - first])
    size_bytes = sum(path.stat().st_size for path in paths)
    return DemoShards(tuple(paths), demo.samples, demo.readable, size_bytes, dict(COUNTS))


def _write_shard(path: Path, samples: Iterable[DemoSample]) -> list[int]:
    """Write one whole shard; for each sample, the offset of the middle of its first member's bytes."""
    middles = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for place, (extension, content) in enumerate(sample.members.items()):
                # Time and owner are fixed, so that a seed gives the same bytes on every run.
                header = tarfile.TarInfo(f"{sample.key}.{extension}")
                header.size, header.mtime, header.mode = len(content), 0, 0o644
                header.uname = header.gname = _OWNER
                tar.addfile(header, io.BytesIO(content))
                if place == 0:
                    padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                    middles.append(tar.offset - padded + len(content) // 2)
    return middles


def _clear_own_shards(output: Path) -> None:
    """Make the folder and remove an earlier run's shards; with anything else in it, touch nothing."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output={output} is a file: name a folder for the demo shards")
    output.mkdir(parents=True, exist_ok=True)
    present = sorted(output.iterdir())
    foreign = [path.name for path in present if not _is_own_shard(path)]
    if foreign:
        raise UsageError(
            f"--output={output} holds {listed(foreign, shown=3)}, which this program did not write: "
            "name an empty or a new folder"
        )
    for path in present:
        path.unlink()


def _is_own_shard(path: Path) -> bool:
    if not _SHARD_NAME.fullmatch(path.name) or not path.is_file():
        return False
    with path.open("rb") as shard:
        header = shard.read(tarfile.BLOCKSIZE)
    # A run that was killed early leaves an empty file.
    return not header or header[_OWNER_FIELD].rstrip(b"\0") == _OWNER.encode()
