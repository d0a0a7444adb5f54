"""The main job from one faulty bucket to another: its input, running it, and how it ended."""

import collections
import contextlib
import dataclasses
import gzip
import io
import random
import re

import pyarrow.parquet as pq
from PIL import Image

from beam_curator.commands import curate_images
from beam_curator.storage.temporary_names import TEMPORARY
from tests.integration.faulty_filesystem import SCHEME, Faults, FaultyFileSystem
from tests.integration.integration_content import content
from tests.tars import tar_bytes

SAMPLES, RANGES, OUTPUT_SHARDS = 12, 7, 3
FLAGS = [
    *("--clip_model", "tiny-untrained", "--min_aesthetic", "-99", "--max_nsfw", "2"),
    *("--samples_per_shard", "4", "--range_mb", "0.06", "--report", "false"),
]


def write_raw(directory):
    """Two plain shards and a compressed one."""
    (directory / "a.tar").write_bytes(_shard(0, 5))
    (directory / "b.tar").write_bytes(_shard(5, 4))
    (directory / "c.tar.gz").write_bytes(gzip.compress(_shard(9, 3), mtime=0))


def _shard(first, samples):
    """A tar of small images, made as large as photographs by what stands beside them."""
    rng = random.Random(first)
    entries = []
    for index in range(first, first + samples):
        file = io.BytesIO()
        Image.new("RGB", (40 + index, 32), tuple(rng.randbytes(3))).save(file, "JPEG")
        entries += [(f"{index:05d}.jpg", file.getvalue()), (f"{index:05d}.bin", rng.randbytes(30_000))]
    return tar_bytes(entries)


@dataclasses.dataclass
class Run:
    """The end of a job."""

    code: int
    out: str
    err: str

    @property
    def scored(self):
        return int(re.search(r"scored (\d+) images", self.out)[1])

    def assert_is_one_line(self, code, *wanted):
        lines = self.err.strip().splitlines()
        assert (self.code, self.out, len(lines)) == (code, "", 1), self.err
        assert lines[0].startswith("beam-curator: ")
        for text in wanted:
            assert text in lines[0]


def run_job(source, output, *more):
    """The main job, on any file system."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = curate_images.main(["--input", source, "--output", output, *FLAGS, *more])
    return Run(code, out.getvalue(), err.getvalue())


def run_faulty_job(raw, output, faults, *more):
    """The main job from one bucket to another, with these faults."""
    FaultyFileSystem.buckets, FaultyFileSystem.faults = {"raw": raw, "out": output}, faults
    return run_job(f"{SCHEME}://raw/*", f"{SCHEME}://out", *more)


def undisturbed_content(raw, output, *more):
    """Runs the job into an empty bucket where nothing fails; gives the content of its output."""
    run = run_faulty_job(raw, output, Faults(), *more)
    assert (run.code, run.err, run.scored) == (0, "", SAMPLES)
    found = content(output)
    kinds = collections.Counter(re.sub(r"[^/]+(?=\.)", "*", name) for name in found)
    assert (kinds["scores/*.parquet"], kinds["*.tar"]) == (RANGES, OUTPUT_SHARDS)
    return found


def rows_scored(output):
    """Counts the samples that have their scores in a part."""
    return sum(pq.read_metadata(part).num_rows for part in output.glob("scores/*.parquet"))


def under_final_names(output):
    """Gives what stands in the output, temporary files apart."""
    return {name: digest for name, digest in content(output).items() if not name.startswith(TEMPORARY)}
