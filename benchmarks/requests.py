"""Counts what a job asks a bucket, and what it sends through shuffles, before an emulator, and multiplies it for
1,000,000,000 images.

python -m benchmarks.requests                     # moto's S3: pip install -e '.[dev]'; some minutes and 4 GB
python -m benchmarks.requests --service gs        # the emulator of Google's
python -m benchmarks.requests --service gs --images 10000 --shards 1 2      # shards of 1 GB, which moto is slow with

Two jobs run, the second over more shards, each of images that take 100 KB with a caption, fields and a member of noise.
Each is a command that scores and keeps 30 % at random, and one that selects as many others from its scores. What the
larger job has more is multiplied, as shards, ranges and output shards are of the size that they have in a large job;
files of the ledger, of which it needs no more, are one for 1,000 ranges. What is asked of the job's own files, most of
it to renew its lease, follows time, and is not multiplied.
"""

import argparse
import collections
import contextlib
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator.commands import main as command
from beam_curator.defaults import TINY_UNTRAINED
from beam_curator.process_tuning import turn_on
from beam_curator.samples import Shard
from beam_curator.sources.tar.planning import plan_ranges, range_bytes_of
from beam_curator.storage import files
from benchmarks import photos, shuffles
from benchmarks.emulated_buckets import Emulator, Request, emulated
from benchmarks.tables import machine, markdown

_SAMPLE_BYTES = 100_000
_LONGEST_SIDE = 256
_SELECTIONS = {"scores, selects": "sha256 < '4d'", "selects anew": "sha256 >= 'b3'"}
"""The selection of each command: 30 % of all samples, at random."""

_TO_IMAGES = 1_000_000_000
_DOLLARS = {"write": 5e-6, "list": 5e-6, "read": 0.4e-6, "look": 0.4e-6, "delete": 0.0}
"""A request, of a bucket of the standard class at Amazon's or Google's."""

_SHARDS, _OF_JOB = "shards", "of the job, by time"
_KINDS = {
    r"raw/.*\.tar": _SHARDS,
    r"raw/": "what may stand beside shards",
    r"out/_tmp/.*\.arrows\.": "pieces of the ledger",
    r"out/(fields|plans|scores)/": "",
    r"out/samples/": "the ledger",
    r"out/\d+": "output shards",
    r"$": "many, or parts of an upload",
    r"": _OF_JOB,
}
"""The kinds of objects, by how their names begin; "" stands for the directory's name."""

Asked = collections.Counter[tuple[str, str]]
"""The number of requests, by direction, and by what was asked for."""


def kind_of(name: str) -> str:
    """Tells what the object of this name is."""
    kind = next(kind for pattern, kind in _KINDS.items() if re.match(pattern, name))
    return kind or name.split("/")[1]


def tallied(requests: Iterable[Request], planning: set[str], scoring: set[str]) -> Asked:
    """Counts requests by what they are for.

    Args:
      requests: of a command.
      planning: the spans of shards that are read to plan them.
      scoring: the spans of ranges.
    """
    found: Asked = collections.Counter()
    for one in requests:
        kind = kind_of(one.name)
        if one.direction == "read" and kind == _SHARDS:
            kind = _read_for(one, planning, scoring)
        found[one.direction, kind] += 1
    return found


def shard_bytes(requests: Iterable[Request], planning: set[str], scoring: set[str]) -> collections.Counter[str]:
    """Counts the bytes of shards that requests ask for, by what for; arguments as in `tallied`."""
    found: collections.Counter[str] = collections.Counter()
    for one in requests:
        if one.direction == "read" and kind_of(one.name) == _SHARDS:
            first, last = one.span.removeprefix("bytes=").split("-")
            found[_read_for(one, planning, scoring)] += int(last) + 1 - int(first)
    return found


def _read_for(one: Request, planning: set[str], scoring: set[str]) -> str:
    what = "planning" if one.span in planning else "scoring" if one.span in scoring else "copying"
    return f"{_SHARDS}: {what}"


@dataclass(frozen=True)
class Counts:
    """The size of a job, and what its commands asked.

    Attributes:
      has: how many shards, images, ranges and output shards.
      asked: by command.
      shuffled: bytes, by command.
      read: bytes of shards, by command and what for.
    """

    has: dict[str, int]
    asked: dict[str, Asked]
    shuffled: dict[str, shuffles.Shuffled]
    read: dict[str, collections.Counter[str]] = field(default_factory=dict)


def make_shard(images: int, jpegs: Sequence[bytes]) -> bytes:
    """A tar of so many samples of 100 KB, each one of the JPEGs, a caption, its fields, and noise."""
    rng, made = np.random.default_rng(0), io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in range(images):
            jpeg = _with_comment(jpegs[int(rng.integers(len(jpegs)))], str(index).encode())
            url = f"https://images.example.org/of/some/place/{rng.integers(1 << 40):x}/{index:08d}.jpg"
            fields = {"url": url, "status": "success", "original_width": 1024, "license": "CC-BY 4.0"}
            members = {"jpg": jpeg, "txt": f"a caption of some ten words, of picture {index}, and the like".encode()}
            members["json"] = json.dumps(fields).encode()
            members["bin"] = rng.bytes(max(0, _SAMPLE_BYTES - len(jpeg) - 8 * tarfile.BLOCKSIZE))
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{index:08d}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def _with_comment(jpeg: bytes, text: bytes) -> bytes:
    """The picture with a comment, so that no two have one sha256."""
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def counted(emulator: Emulator, shards: int, tar: bytes, flags: argparse.Namespace) -> Counts:
    """Runs both commands over the same shard under so many names, in a bucket that is empty before and after.

    Raises:
      SystemExit: when a command fails.
    """
    for number in range(shards):
        emulator.put(f"raw/{number:05d}.tar", tar)
    of_job = {"range_mb": flags.range_mb, "samples_per_shard": flags.samples_per_shard, "clip_model": TINY_UNTRAINED}
    more = {**of_job, "report": "false", "ranges_per_ledger_file": 1000, "min_aesthetic": "none", "max_nsfw": "none"}
    base = ["curate", "--input", f"{emulator.root}/raw/", "--output", f"{emulator.root}/out", *emulator.flags]
    base += [f"--{name}={value}" for name, value in more.items()]
    asked: dict[str, Sequence[Request]] = {}
    shuffled: dict[str, shuffles.Shuffled] = {}
    for name, condition in _SELECTIONS.items():
        with emulator.heard() as heard, shuffles.counted() as sent, contextlib.redirect_stdout(io.StringIO()):
            code = command.main([*base, "--where", condition])
        if code:
            raise SystemExit(code)
        asked[name], shuffled[name] = heard, sent
    ranges, planning = _planned(emulator, tar, flags.range_mb)
    tallies = {name: tallied(heard, planning, ranges) for name, heard in asked.items()}
    read = {name: shard_bytes(heard, planning, ranges) for name, heard in asked.items()}
    names = emulator.names()
    outputs = sum(bool(re.match(r"out/\d+\.tar$", name)) for name in names)
    emulator.delete(names)
    has = {"shards": shards, "images": shards * flags.images, "ranges": shards * len(ranges), "output shards": outputs}
    return Counts(has, tallies, shuffled, read)


def _planned(emulator: Emulator, tar: bytes, range_mb: float) -> tuple[set[str], set[str]]:
    """The spans of a shard's ranges, and those that are read to find where it is to be cut."""
    shard = Shard(f"{emulator.root}/raw/00000.tar", len(tar), "")
    with emulator.heard() as heard:
        ranges = list(plan_ranges(shard, range_bytes_of(range_mb)))
    spans = {f"bytes={one.start}-{one.end - 1}" for one in ranges}
    return spans, {one.span for one in heard if one.direction == "read"}


def rows_of_requests(smaller: Counts, larger: Counts) -> list[list[str]]:
    """A row for each command, direction and kind: what the larger job asks more, that of a range, and of very many
    images, in millions."""
    more = {name: larger.has[name] - smaller.has[name] for name in larger.has}
    rows = []
    for name in larger.asked:
        few, many = smaller.asked[name], larger.asked[name]
        for direction, kind in sorted(many | few):
            grown = many[direction, kind] - few[direction, kind]
            millions = grown / more["images"] * _TO_IMAGES / 1e6
            told = [str(few[direction, kind]), str(many[direction, kind]), f"{grown / more['ranges']:.2f}"]
            rows.append([name, direction, kind, *told, "" if kind == _OF_JOB else f"{millions:.1f}"])
    return rows


def _rows_of_bytes(of_shard: int, smaller: Counts, larger: Counts) -> list[list[str]]:
    """A row for each command and what it reads shards for: a share of the bytes that the larger job has more."""
    shards_bytes = of_shard * (larger.has["shards"] - smaller.has["shards"])
    rows = []
    for name, read in larger.read.items():
        for kind in sorted(read):
            rows.append([name, kind, f"{(read[kind] - smaller.read[name][kind]) / shards_bytes:.3f}"])
    return rows


def rows_of_prices(smaller: Counts, larger: Counts) -> list[list[str]]:
    """A row for each command: requests for very many images, in millions, by direction, and what they cost."""
    times = _TO_IMAGES / (larger.has["images"] - smaller.has["images"])
    rows = []
    for name in larger.asked:
        grown: collections.Counter[str] = collections.Counter()
        for (direction, kind), count in larger.asked[name].items():
            if kind == _OF_JOB:
                continue
            grown[direction] += count - smaller.asked[name][direction, kind]
        dollars = sum(count * times * _DOLLARS[direction] for direction, count in grown.items())
        rows.append([name, *(f"{grown[one] * times / 1e6:.1f}" for one in _DOLLARS), f"${dollars:.0f}"])
    return rows


def rows_of_shuffles(smaller: Counts, larger: Counts) -> list[list[str]]:
    """A row for each command and step that shuffles: what the larger job sends more, of a range, of a sample, and of
    very many samples, in GB."""
    more = {name: larger.has[name] - smaller.has[name] for name in larger.has}
    rows = []
    for name in larger.shuffled:
        few, many = smaller.shuffled[name], larger.shuffled[name]
        for step in sorted(many | few):
            grown = many[step] - few[step]
            of_each = [f"{grown / more['ranges']:,.0f}", f"{grown / more['images']:.1f}"]
            rows.append([name, step, *of_each, f"{grown / more['images'] * _TO_IMAGES / 1e9:.1f}"])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Counts, and prints tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.requests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service", choices=("s3", "gs"), default="s3", help="(default %(default)s)")
    parser.add_argument("--images", type=int, default=3334, help="in each shard (default %(default)s)")
    parser.add_argument("--shards", type=int, nargs=2, default=(1, 3), help="of the jobs (default 1 3)")
    parser.add_argument("--range_mb", type=float, default=64, help="(default %(default)s)")
    parser.add_argument("--samples_per_shard", type=int, default=1000, help="of the output (default %(default)s)")
    parser.add_argument("--cache", type=Path, default=photos.default_cache(), help="for drawn photographs")
    flags = parser.parse_args(argv)
    print(machine(), flush=True)
    tar = make_shard(flags.images, photos.make_shards(flags.cache, 60, 60, longest_side=_LONGEST_SIDE).jpegs())
    with emulated(flags.service) as emulator:
        files.use_options(PipelineOptions(list(emulator.flags)))
        jobs = [counted(emulator, shards, tar, flags) for shards in flags.shards]
    for one in jobs:
        print(", ".join(f"{count:,} {name}" for name, count in one.has.items()))
    millions = f"millions for {_TO_IMAGES:,} images"
    header = ["command", "", "of what", "smaller job", "larger job", "more, a range", millions]
    print("\n" + markdown(header, rows_of_requests(*jobs)))
    print("\n" + markdown(["command", "reads", "of the shards' bytes"], _rows_of_bytes(len(tar), *jobs)))
    print("\n" + markdown(["command, millions", *_DOLLARS, "price"], rows_of_prices(*jobs)))
    header = ["command", "through the shuffle of", "bytes a range", "bytes an image", f"GB for {_TO_IMAGES:,} images"]
    print("\n" + markdown(header, rows_of_shuffles(*jobs)))
    return 0


if __name__ == "__main__":
    turn_on()  # as in the command
    sys.exit(main())
