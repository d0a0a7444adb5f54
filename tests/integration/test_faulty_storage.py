"""Whole jobs on storage that fails: what passes is tried again, what stays is one line, and a resume goes on from it.

The faults are those of `faulty_filesystem`, under input and output alike. Nothing waits between attempts.
"""

import collections
import dataclasses
import errno
import hashlib
import random
import re
import subprocess

import pytest

from beam_curator.models.weights import transfer
from beam_curator.storage import retrying as storage_faults
from beam_curator.storage.temporary_names import TEMPORARY
from tests.integration.faulty_filesystem import (
    OPERATIONS,
    SCHEME,
    TRANSIENT,
    Faults,
    FaultyFileSystem,
    Outage,
    ServiceError,
)
from tests.integration.faulty_job import (
    SAMPLES,
    rows_scored,
    run_faulty_job,
    run_job,
    under_final_names,
    undisturbed_content,
    write_raw,
)
from tests.integration.integration_content import content

ATTEMPTS = 5


@pytest.fixture(scope="module")
def raw_bucket(tmp_path_factory):
    directory = tmp_path_factory.mktemp("faulty")
    write_raw(directory)
    return directory


@pytest.fixture(scope="module")
def undisturbed(raw_bucket, tmp_path_factory):
    """Runs the job where nothing fails; gives the content of its output."""
    return undisturbed_content(raw_bucket, tmp_path_factory.mktemp("undisturbed"))


LONG_WAIT = re.compile(r"cannot \w+ faulty://.*; trying again in \d+\.\d s")
"""What is told of a fault that has been waited for, or will be, for ten seconds."""


@pytest.fixture
def bucket(tmp_path):
    """The directory of the bucket that the output goes to."""
    directory = tmp_path / "bucket"
    directory.mkdir()
    return directory


@pytest.fixture
def curate(raw_bucket, bucket, caplog, monkeypatch):
    """Runs the main job between the buckets with these faults."""
    monkeypatch.setattr(storage_faults.CLOCK, "sleep", lambda seconds: FaultyFileSystem.faults.waited(seconds))

    def run(faults, *more):
        caplog.clear()
        ended = run_faulty_job(raw_bucket, bucket, faults, *more)
        told = [record.getMessage() for record in caplog.records if record.levelname != "INFO"]  # it is on stderr
        assert [line for line in told if not LONG_WAIT.fullmatch(line)] == []
        return ended

    return run


def assert_went_well(run, scored):
    assert (run.code, run.err, run.scored) == (0, "", scored)


# faults that pass

RATES = {
    **{"open": 0.2, "read": 0.05, "create": 0.15, "write": 0.4, "close": 0.15},
    **{"rename": 0.4, "delete": 0.3, "list": 0.5, "exists": 0.1},
}


def test_faults_that_pass_are_tried_again_and_the_output_is_the_same_bytes(curate, bucket, raw_bucket, tmp_path):
    with_report = ("--report", "true")
    (tmp_path / "undisturbed").mkdir()
    undisturbed = undisturbed_content(raw_bucket, tmp_path / "undisturbed", *with_report)
    assert {"report.html", "report.json"} <= undisturbed.keys()
    kinds = {*OPERATIONS, "short read", "early end"}
    injected = collections.Counter()
    for seed in range(20):  # which of them are drawn depends on the order of threads
        more = ["--overwrite"] if seed else []  # which deletes what stands there, and says so
        faults = Faults(seed, RATES, short=0.3, ends_early=0.05, calm_operations=200)
        run = curate(faults, *with_report, *more)
        assert run.err.count("\n") == len(more)
        assert_went_well(dataclasses.replace(run, err=""), scored=SAMPLES)
        assert content(bucket) == undisturbed
        assert len(faults.waits) > 10
        injected += faults.injected
        if seed >= 3 and set(injected) == kinds:
            break
    assert set(injected) == kinds


def test_short_reads_and_slow_answers_change_nothing_and_are_no_faults(curate, bucket, undisturbed):
    faults = Faults(short=0.9, slow_seconds=0.002)
    assert_went_well(curate(faults), scored=SAMPLES)
    assert content(bucket) == undisturbed
    assert faults.injected["short read"] > 100
    assert faults.waits == []


def test_a_connection_that_ends_early_is_not_taken_for_a_truncated_shard(curate, bucket, undisturbed):
    faults = Faults(3, ends_early=0.2, calm_operations=100)
    assert_went_well(curate(faults), scored=SAMPLES)
    assert content(bucket) == undisturbed
    assert faults.injected["early end"] > 5
    assert len(faults.waits) > 3


def test_weights_in_a_bucket_are_read_through_faults_that_pass(bucket, tmp_path, monkeypatch):
    content = random.Random(0).randbytes(100_000)
    (bucket / "weights.pth").write_bytes(content)
    path, sha256 = f"{SCHEME}://out/weights.pth", hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(storage_faults.CLOCK, "sleep", lambda seconds: FaultyFileSystem.faults.waited(seconds))
    monkeypatch.setattr(FaultyFileSystem, "buckets", {"out": bucket})
    for seed in range(10):
        monkeypatch.setattr(FaultyFileSystem, "faults", Faults(seed, dict.fromkeys(OPERATIONS, 0.4), short=0.5))
        assert transfer.is_file(path)
        assert transfer.size_of(path) == len(content)
        assert transfer.sha256_of(path) == sha256
        transfer.copy(path, tmp_path / "copy", sha256)
        assert (tmp_path / "copy").read_bytes() == content
        assert FaultyFileSystem.faults.waits
    monkeypatch.setattr(FaultyFileSystem, "faults", Faults(outages=[Outage("read", "weights")]))
    with pytest.raises(transfer.TransferError, match=f"^cannot read {path}: Input/output error$"):
        transfer.sha256_of(path)
    assert len(FaultyFileSystem.faults.waits) == ATTEMPTS - 1


# faults that stay


def forbidden():
    return ServiceError(403, "Forbidden")


def denied():
    return PermissionError(errno.EACCES, "Permission denied")


def full():
    return OSError(errno.ENOSPC, "No space left on device")


def name_of(value):
    return f"{value.operation} {value.path} {value.after}" if isinstance(value, Outage) else ""


@pytest.mark.parametrize(
    ("outage", "wanted"),
    [
        (Outage("list", "raw"), ["cannot list faulty://raw/*: Input/output error"]),
        (Outage("list", "raw", forbidden), ["cannot list faulty://raw/*: no permission (403 Forbidden)"]),
        (Outage("exists", "job.json"), ["--output faulty://out", "cannot look for faulty://out/job.json"]),
        (Outage("list", "out"), ["--output faulty://out", "cannot list faulty://out"]),
        (Outage("create", "job.json", denied), ["--output faulty://out", "write", "job.json: Permission denied"]),
        (Outage("write", "job.json"), ["--output faulty://out", "cannot write faulty://out/job.json"]),
        (Outage("close", "job.json", full), ["faulty://out/job.json", "the disk is full"]),
        (Outage("rename", "job.json"), ["cannot write faulty://out/job.json: Input/output error"]),
        (Outage("delete", "half"), ["cannot delete faulty://out/_tmp/half."]),
    ],
    ids=name_of,
)
def test_what_stays_broken_before_any_work_is_one_line_and_exit_code_2(curate, bucket, outage, wanted):
    (bucket / TEMPORARY).mkdir()
    (bucket / TEMPORARY / f"half.{'0' * 32}").write_bytes(b"left by a job that was killed")
    curate(Faults(outages=[outage])).assert_is_one_line(2, *wanted)
    assert under_final_names(bucket) == {}


def test_a_dry_run_that_cannot_read_is_one_line_and_exit_code_2(curate):
    run = curate(Faults(outages=[Outage("read", "b.tar")]), "--dry_run")
    run.assert_is_one_line(2, "cannot read faulty://raw/b.tar: Input/output error")


IN_THE_JOB = [
    Outage("list", "raw", after=2),
    Outage("open", "c.tar.gz", forbidden, after=1),
    Outage("read", "b.tar", after=3),
    Outage("write", "_tmp/.*.parquet", after=2),
    Outage("close", "_tmp/c-.*.parquet", full),
    Outage("rename", "scores/a-.*-00002", denied),
    Outage("rename", "samples/c"),
    Outage("open", "scores/b-.*-00000"),
    Outage("open", "a.tar", after=5),
    Outage("write", "_tmp/00001.tar"),
    Outage("close", "_tmp/00001.tar"),
    Outage("rename", "00001.tar"),
    Outage("list", "out/samples"),
    Outage("rename", "manifest.json", forbidden),
]


@pytest.mark.parametrize("outage", IN_THE_JOB, ids=name_of)
def test_what_stays_broken_in_the_job_is_one_line_and_the_same_command_goes_on_where_it_stopped(
    curate, bucket, undisturbed, outage
):
    faults = Faults(outages=[outage])
    named = re.sub(r"_tmp/|\.\*.*", "", outage.path)
    curate(faults).assert_is_one_line(1, "cannot ", named, "run the same command again to resume")
    waits = ATTEMPTS - 1 if outage.error is TRANSIENT[0] else 0  # not the product of attempts inside attempts
    assert waits <= len(faults.waits) <= 2 * waits  # two output shards are written at a time
    assert under_final_names(bucket).items() < undisturbed.items()
    scored_before = rows_scored(bucket)
    assert_went_well(curate(Faults()), scored=SAMPLES - scored_before)
    assert content(bucket) == undisturbed


OF_MANY = ("--ranges_per_ledger_file", "3")


@pytest.fixture(scope="module")
def undisturbed_of_many(raw_bucket, tmp_path_factory):
    """Runs a job whose ledger is in files of many ranges, where nothing fails; gives the content of its output."""
    return undisturbed_content(raw_bucket, tmp_path_factory.mktemp("of_many"), *OF_MANY)


@pytest.mark.parametrize(
    "outage",
    [
        Outage("close", "_tmp/b-.*arrows", full),
        Outage("read", "_tmp/b-.*arrows"),
        Outage("close", "_tmp/ledger-000001.parquet", full),
        Outage("delete", "_tmp/b-.*arrows"),
    ],
    ids=name_of,
)
def test_a_ledger_of_many_ranges_that_is_cut_off_anywhere_is_one_line_and_the_same_command_goes_on(
    curate, bucket, undisturbed_of_many, outage
):
    run = curate(Faults(outages=[outage]), *OF_MANY)
    named = re.sub(r"_tmp/|\..*", "", outage.path)
    run.assert_is_one_line(1, "cannot ", named, "run the same command again to resume")
    assert under_final_names(bucket).items() < undisturbed_of_many.items()
    assert_went_well(curate(Faults(), *OF_MANY), scored=0)
    assert content(bucket) == undisturbed_of_many


def test_what_cannot_be_deleted_at_the_end_is_one_line_and_deleted_by_the_next_run(curate, bucket, undisturbed):
    assert curate(Faults(), "--samples_per_shard", "2").code == 0
    run = curate(Faults(outages=[Outage("delete", r"00003\.tar")]))
    run.assert_is_one_line(1, "cannot delete faulty://out/00003", "run the same command again to resume")
    assert_went_well(curate(Faults()), scored=0)
    assert content(bucket) == undisturbed


def test_a_part_that_cannot_be_read_is_an_error_and_not_a_reason_to_score_again(curate, bucket, undisturbed):
    assert_went_well(curate(Faults()), scored=SAMPLES)
    run = curate(Faults(outages=[Outage("read", "scores/a-.*-00001")]))
    run.assert_is_one_line(1, "cannot read faulty://out/scores/a-", "Input/output error")
    assert under_final_names(bucket) == undisturbed
    assert_went_well(curate(Faults()), scored=0)
    assert content(bucket) == undisturbed


# edges

DUPLICATES = ("--duplicates", "perceptual,semantic", "--duplicate_cosine", "0.5")


@pytest.fixture(scope="module")
def undisturbed_edges(raw_bucket, tmp_path_factory):
    """Runs a job that looks for duplicates, where nothing fails; gives the content of its output."""
    output = tmp_path_factory.mktemp("edges")
    assert run_faulty_job(raw_bucket, output, Faults(), *DUPLICATES).code == 0
    return content(output)


@pytest.mark.parametrize("name", ["centres", "block-", "piece-", "pairs", "classes"])
def test_a_disk_that_is_full_while_duplicates_are_compared_is_one_line_and_the_same_command_goes_on(
    curate, bucket, undisturbed_edges, name
):
    run = curate(Faults(outages=[Outage("close", f"_tmp/{name}.*parquet", full)]), *DUPLICATES)
    run.assert_is_one_line(
        1, "cannot write faulty://out/edges/", name, "the disk is full", "run the same command again"
    )
    assert under_final_names(bucket).keys().isdisjoint({"manifest.json", "00000.tar"})
    assert_went_well(curate(Faults(), *DUPLICATES), scored=0)
    assert content(bucket) == undisturbed_edges


# a full disk

DISK_BYTES = 400_000


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, too small for the output."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory)]
    mount = subprocess.run(command, capture_output=True, text=True, check=False)
    if mount.returncode:
        pytest.skip(f"a disk to fill cannot be mounted: {mount.stderr.strip()} (it needs root)")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_is_one_line_and_with_space_the_same_command_goes_on(raw_bucket, small_disk, tmp_path):
    output = small_disk / "out"
    run = run_job(str(raw_bucket), str(output))
    run.assert_is_one_line(1, f"cannot write {output}/", "the disk is full (No space left on device)", "to resume")
    left = content(output)
    assert not list(output.glob(f"{TEMPORARY}/*"))
    scored_before = rows_scored(output)
    assert scored_before > 0
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert_went_well(run_job(str(raw_bucket), str(output)), scored=SAMPLES - scored_before)
    assert left.items() < content(output).items()
    assert_went_well(run_job(str(raw_bucket), str(tmp_path / "whole")), scored=SAMPLES)
    assert unnamed(content(output)) == unnamed(content(tmp_path / "whole"))


def unnamed(found):
    """All files but those that name the output directory."""
    return {name: digest for name, digest in found.items() if name not in ("job.json", "manifest.json")}


def test_a_full_disk_is_found_before_any_work_where_nothing_fits(raw_bucket, small_disk):
    (small_disk / "filler").write_bytes(bytes(DISK_BYTES))
    run_job(str(raw_bucket), str(small_disk / "out")).assert_is_one_line(2, "the disk is full")
    assert not any(path.is_file() for path in (small_disk / "out").rglob("*"))
