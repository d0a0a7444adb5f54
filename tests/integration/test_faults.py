"""Whole jobs on storage that fails: what passes is tried again, what stays is one line, and a resume goes on from there.

The faults are those of `faulty_filesystem`, under input and output alike. Nothing waits between attempts.
"""

import collections
import dataclasses
import errno
import gzip
import io
import pathlib
import random
import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from faulty_filesystem import OPERATIONS, SCHEME, TRANSIENT, Faults, FaultyFileSystem, Outage, ServiceError
from integration_content import content
from PIL import Image
from tars import tar_bytes

from beam_curator import faults as storage_faults
from beam_curator.files import TEMPORARY
from pipelines import curate_images

ATTEMPTS = 5
SAMPLES = 12
FLAGS = [
    *("--clip_model", "tiny-untrained", "--min_aesthetic", "-99", "--max_nsfw", "2"),
    *("--samples_per_shard", "4", "--range_mb", "0.06"),
]


def shard(first, samples):
    """A tar of small images, made as large as photographs by what stands beside them."""
    rng = random.Random(first)
    entries = []
    for index in range(first, first + samples):
        file = io.BytesIO()
        Image.new("RGB", (40 + index, 32), tuple(rng.randbytes(3))).save(file, "JPEG")
        entries += [(f"{index:05d}.jpg", file.getvalue()), (f"{index:05d}.bin", rng.randbytes(30_000))]
    return tar_bytes(entries)


@pytest.fixture(scope="session")
def raw_bucket(tmp_path_factory):
    """Two plain shards and a compressed one, in seven ranges."""
    directory = tmp_path_factory.mktemp("faulty")
    (directory / "a.tar").write_bytes(shard(0, 5))
    (directory / "b.tar").write_bytes(shard(5, 4))
    (directory / "c.tar.gz").write_bytes(gzip.compress(shard(9, 3), mtime=0))
    return directory


@dataclasses.dataclass
class Run:
    """How a job ended."""

    code: int
    out: str
    err: str
    faults: Faults

    @property
    def scored(self):
        return int(re.search(r"scored (\d+) images", self.out)[1])

    def assert_is_one_line(self, code, *wanted):
        lines = self.err.strip().splitlines()
        assert (self.code, self.out, len(lines)) == (code, "", 1), self.err
        assert lines[0].startswith("beam-curator: ")
        for text in wanted:
            assert text in lines[0]


class Bucket:
    """The main job from the raw bucket to an empty one, as often as one likes, with the faults that one likes."""

    def __init__(self, raw, output, capsys, caplog):
        self.output, self._raw, self._capsys, self._caplog = output, raw, capsys, caplog
        output.mkdir()

    def curate(self, faults, *more, shards="*"):
        FaultyFileSystem.buckets = {"raw": self._raw, "out": self.output}
        FaultyFileSystem.faults = faults
        self._capsys.readouterr()
        self._caplog.clear()
        argv = ["--input", f"{SCHEME}://raw/{shards}", "--output", f"{SCHEME}://out", *FLAGS, *more]
        code = curate_images.main(argv)
        captured = self._capsys.readouterr()
        assert not [record for record in self._caplog.records if record.levelname != "INFO"]  # it would be on stderr
        return Run(code, captured.out, captured.err, faults)

    def rows_scored(self):
        return sum(pq.read_metadata(part).num_rows for part in self.output.glob("scores/*.parquet"))

    def under_final_names(self):
        found = content(self.output)
        return {name: digest for name, digest in found.items() if not name.startswith(TEMPORARY)}


@pytest.fixture
def bucket(raw_bucket, tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.setattr(storage_faults.CLOCK, "sleep", lambda seconds: FaultyFileSystem.faults.waited(seconds))
    return Bucket(raw_bucket, tmp_path / "bucket", capsys, caplog)


@pytest.fixture(scope="session")
def undisturbed(raw_bucket, tmp_path_factory):
    """What the same job leaves where nothing fails."""
    output = tmp_path_factory.mktemp("undisturbed")
    FaultyFileSystem.buckets, FaultyFileSystem.faults = {"raw": raw_bucket, "out": output}, Faults()
    assert curate_images.main(["--input", f"{SCHEME}://raw/*", "--output", f"{SCHEME}://out", *FLAGS]) == 0
    assert len(list(output.glob("*.tar"))) == 3
    assert len(list(output.glob("scores/*"))) == 7
    return content(output)


# faults that pass

RATES = {
    **{"open": 0.2, "read": 0.05, "create": 0.15, "write": 0.1, "close": 0.15},
    **{"rename": 0.2, "delete": 0.2, "list": 0.5, "exists": 0.1},
}


def test_faults_that_pass_are_tried_again_and_the_output_is_the_same_bytes(bucket, undisturbed):
    injected = collections.Counter()
    for seed in range(4):
        more = ["--overwrite"] if seed else []  # which deletes what stands there
        run = bucket.curate(Faults(seed, RATES, short=0.3, ends_early=0.05), *more)
        assert (run.code, run.err, run.scored) == (0, "", SAMPLES)
        assert content(bucket.output) == undisturbed
        assert len(run.faults.waits) > 10
        injected += run.faults.injected
    assert set(injected) == {*OPERATIONS, "short read", "early end"}
    assert min(injected.values()) > 2


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: str(error()))
def test_each_kind_of_fault_that_may_pass_is_tried_again(raw_bucket, tmp_path, monkeypatch, error):
    class PassingOnce(Faults):
        def _transient(self, operation):
            self.rates = {}
            return error()

    from beam_curator import files

    faults = PassingOnce(rates={"read": 1.0})
    monkeypatch.setattr(storage_faults.CLOCK, "sleep", faults.waited)
    monkeypatch.setattr(FaultyFileSystem, "faults", faults)
    monkeypatch.setattr(FaultyFileSystem, "buckets", {"raw": raw_bucket})
    assert files.read_bytes(f"{SCHEME}://raw/a.tar") == (raw_bucket / "a.tar").read_bytes()
    assert len(faults.waits) == 1


def test_short_reads_and_slow_answers_change_nothing_and_are_no_faults(bucket, undisturbed):
    run = bucket.curate(Faults(short=0.9, slow_seconds=0.002))
    assert (run.code, run.err, run.scored) == (0, "", SAMPLES)
    assert content(bucket.output) == undisturbed
    assert run.faults.injected["short read"] > 100
    assert run.faults.waits == []


def test_a_connection_that_ends_early_is_not_taken_for_a_truncated_shard(bucket, undisturbed):
    run = bucket.curate(Faults(3, ends_early=0.05))
    assert (run.code, run.err, run.scored) == (0, "", SAMPLES)
    assert content(bucket.output) == undisturbed
    assert run.faults.injected["early end"] > 5
    assert len(run.faults.waits) > 3


# faults that stay


def forbidden():
    return ServiceError(403, "Forbidden")


def denied():
    return PermissionError(errno.EACCES, "Permission denied")


def full():
    return OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("outage", "wanted"),
    [
        (Outage("list", "raw"), ["cannot list faulty://raw/*: Input/output error"]),
        (Outage("list", "raw", forbidden), ["cannot list faulty://raw/*: 403 Forbidden"]),
        (Outage("exists", "job.json"), ["--output faulty://out", "cannot look for faulty://out/job.json"]),
        (Outage("list", "out"), ["--output faulty://out", "cannot list faulty://out"]),
        (Outage("create", "job.json", denied), ["--output faulty://out", "write", "job.json: Permission denied"]),
        (Outage("write", "job.json"), ["--output faulty://out", "cannot write faulty://out/job.json"]),
        (Outage("close", "job.json", full), ["faulty://out/job.json", "the disk is full"]),
        (Outage("rename", "job.json"), ["cannot write faulty://out/job.json: Input/output error"]),
        (Outage("delete", "half"), ["cannot delete faulty://out/_tmp/half"]),
    ],
    ids=lambda value: f"{value.operation} {value.path}" if isinstance(value, Outage) else "",
)
def test_what_stays_broken_before_any_work_is_one_line_and_exit_code_2(bucket, outage, wanted):
    (bucket.output / TEMPORARY).mkdir()
    (bucket.output / TEMPORARY / "half").write_bytes(b"left by a job that was killed")
    run = bucket.curate(Faults(outages=[outage]))
    run.assert_is_one_line(2, *wanted)
    assert bucket.under_final_names() == {}


def test_a_dry_run_that_cannot_read_is_one_line_and_exit_code_2(bucket):
    run = bucket.curate(Faults(outages=[Outage("read", "b.tar")]), "--dry_run")
    run.assert_is_one_line(2, "cannot read faulty://raw/b.tar: Input/output error")


IN_THE_JOB = [
    Outage("list", "raw", after=1),
    Outage("open", "a.tar"),
    Outage("open", "c.tar.gz", forbidden, after=1),
    Outage("read", "b.tar", after=3),
    Outage("read", "c.tar.gz", after=6),
    Outage("exists", "scores/b"),
    Outage("create", "_tmp/b-.*-00001.parquet"),
    Outage("write", "_tmp/.*.parquet", after=2),
    Outage("close", "_tmp/c-.*.parquet", full),
    Outage("rename", "scores/a-.*-00002", denied),
    Outage("rename", "samples/c"),
    Outage("open", "scores/b-.*-00000"),
    Outage("open", "a.tar", after=5),
    Outage("write", "_tmp/00001.tar", after=4),
    Outage("close", "_tmp/00001.tar"),
    Outage("rename", "00001.tar"),
    Outage("rename", "00002_stats.json"),
    Outage("list", "out/", after=4),
    Outage("rename", "manifest.json", forbidden),
]


@pytest.mark.parametrize("outage", IN_THE_JOB, ids=lambda outage: f"{outage.operation} {outage.path} {outage.after}")
def test_what_stays_broken_in_the_job_is_one_line_and_the_same_command_goes_on_where_it_stopped(
    bucket, undisturbed, outage
):
    run = bucket.curate(Faults(outages=[outage]))
    named = re.sub(r"_tmp/|\.\*.*", "", outage.path)
    run.assert_is_one_line(1, "cannot ", named)
    if outage.path != "raw":
        assert "run the same command again to resume" in run.err
    passing = outage.error is TRANSIENT[0]
    assert len(run.faults.waits) == (ATTEMPTS - 1 if passing else 0)  # not the product of nested attempts
    assert bucket.under_final_names().items() < undisturbed.items()
    scored_before = bucket.rows_scored()
    run = bucket.curate(Faults())
    assert (run.code, run.err, run.scored) == (0, "", SAMPLES - scored_before)
    assert content(bucket.output) == undisturbed


def test_what_cannot_be_deleted_at_the_end_is_one_line_and_deleted_by_the_next_run(bucket, undisturbed):
    assert bucket.curate(Faults(), "--samples_per_shard", "2").code == 0
    run = bucket.curate(Faults(outages=[Outage("delete", r"00003\.tar")]))
    run.assert_is_one_line(1, "cannot delete faulty://out/00003", "run the same command again to resume")
    run = bucket.curate(Faults())
    assert (run.code, run.scored) == (0, 0)
    assert content(bucket.output) == undisturbed


def test_a_part_that_cannot_be_read_is_an_error_and_not_a_reason_to_score_again(bucket, undisturbed):
    assert bucket.curate(Faults()).code == 0
    run = bucket.curate(Faults(outages=[Outage("read", "scores/a-.*-00001")]))
    run.assert_is_one_line(1, "cannot read faulty://out/scores/a-", "Input/output error")
    assert bucket.under_final_names() == undisturbed
    run = bucket.curate(Faults())
    assert (run.code, run.scored) == (0, 0)
    assert content(bucket.output) == undisturbed


# a full disk

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that holds half a mebibyte."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip(f"a disk to fill cannot be mounted: {mount.stderr.strip()} (it needs root)")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def curate_locally(raw, output):
    argv = ["--input", str(raw), "--output", str(output), *FLAGS]
    return subprocess.run(
        [sys.executable, "-m", "pipelines.curate_images", *argv], capture_output=True, text=True, check=False
    )


def test_a_full_disk_is_one_line_and_with_space_the_same_command_goes_on(raw_bucket, small_disk, tmp_path):
    output = small_disk / "out"
    run = curate_locally(raw_bucket, output)
    assert (run.returncode, run.stdout) == (1, "")
    (line,) = run.stderr.strip().splitlines()
    assert re.fullmatch(rf"beam-curator: cannot write {output}/\S+: the disk is full \(.*\); .* to resume", line)
    left = content(output)
    assert not list(output.glob(f"{TEMPORARY}/*"))
    parts = len(list(output.glob("scores/*.parquet")))
    assert parts > 0
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    run = curate_locally(raw_bucket, output)
    assert (run.returncode, run.stderr) == (0, "")
    assert f"scored {SAMPLES if parts < 7 else 0} images" in run.stdout or "scored before" in run.stdout
    assert left.items() < content(output).items()
    whole = tmp_path / "whole"
    assert curate_locally(raw_bucket, whole).returncode == 0
    unlike = {"job.json", "manifest.json"}  # which name the directory
    assert {n: d for n, d in content(output).items() if n not in unlike} == {
        n: d for n, d in content(whole).items() if n not in unlike
    }


def test_a_full_disk_is_found_before_any_work_where_nothing_fits(raw_bucket, small_disk):
    (small_disk / "filler").write_bytes(bytes(MIB // 2))
    run = curate_locally(raw_bucket, small_disk / "out")
    assert (run.returncode, run.stdout) == (2, "")
    (line,) = run.stderr.strip().splitlines()
    assert "the disk is full" in line
    assert not any(path.is_file() for path in pathlib.Path(small_disk, "out").rglob("*"))
