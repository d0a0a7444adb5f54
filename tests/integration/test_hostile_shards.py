"""One job over a hundred hostile shards: what is good goes through, and the ledger says why the rest does not."""

import collections
import contextlib
import functools
import io
import json
import os
import pathlib
import subprocess
import sys

import pytest
import webdataset as wds

from beam_curator.commands import curate_images, verify_output
from beam_curator.samples import readable
from tests.integration.hostile.captions import CAPTIONS
from tests.integration.hostile.parts import KEPT
from tests.integration.hostile.shards import all_shards
from tests.integration.integration_content import ledger
from tests.tars import webdataset_samples

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARDS = all_shards()
FLAGS = ["--clip_model", "tiny-untrained", "--min_aesthetic", "-99", "--max_nsfw", "2", "--samples_per_shard", "50"]


def names(wanted=lambda shard: True):
    return [name for name, shard in SHARDS.items() if wanted(shard)]


class Job:
    """A job that has run over the hostile shards."""

    def __init__(self, raw, output, code, printed, errors):
        self.raw, self.output, self.code, self.printed, self.errors = raw, output, code, printed, errors

    @functools.cached_property
    def ledger(self):
        return ledger(self.output)

    @functools.cached_property
    def manifest(self):
        return json.loads((self.output / "manifest.json").read_text())

    def rows(self, name):
        return [row for row in self.ledger if row["shard"] == str(self.raw / name)]

    def errors_of(self, name):
        return [broken for broken in self.manifest["broken_shards"] if broken["shard"] == str(self.raw / name)]


def listing(directory):
    """Lists all that stands under a directory, and its content; of huge files the size and the time of change."""
    return {str(path): _content(path) for path in sorted(directory.rglob("*"))}


def _content(path):
    if path.is_dir():
        return "directory"
    found = path.stat()
    return path.read_bytes() if found.st_size < 10 << 20 else (found.st_size, found.st_mtime_ns)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hostile") / "raw"
    directory.mkdir()
    for name, shard in SHARDS.items():
        shard.write(directory / name)
    return directory


MEASURED_RUN = """
import re, sys
from beam_curator.commands import curate_images
code = curate_images.main(sys.argv[1:])
print("peak_rss_kib", re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
sys.exit(code)
"""


@pytest.fixture(scope="module")
def surroundings(raw):
    """(what stood around the input and in the working directory before, and after the job; the job)"""
    world = raw.parent
    (world / "working").mkdir()
    before = listing(world)
    argv = ["--input", str(raw), "--output", str(world / "out"), *FLAGS]
    run = subprocess.run(
        [sys.executable, "-c", MEASURED_RUN, *argv],
        cwd=world / "working",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return before, listing(world), Job(raw, world / "out", run.returncode, run.stdout, run.stderr)


@pytest.fixture(scope="module")
def job(surroundings):
    return surroundings[-1]


@pytest.fixture(scope="module")
def small_ranges(raw, tmp_path_factory):
    """The same in ranges of about four kilobytes: many a shard is cut into several."""
    output = tmp_path_factory.mktemp("small") / "out"
    argv = ["--input", str(raw), "--output", str(output), *FLAGS, "--range_mb", "0.004"]
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        code = curate_images.main(argv)
    return Job(raw, output, code, printed.getvalue(), errors.getvalue())


def test_the_job_goes_to_its_end(job, small_ranges):
    for one in (job, small_ranges):
        assert one.code == 0, one.errors
        assert "Traceback" not in one.errors


def begins(reason, wanted):
    if wanted is KEPT:
        return reason is None
    return str(reason).startswith(wanted)


@pytest.mark.parametrize("name", names(lambda shard: shard.rows is not ...))
def test_each_sample_of_the_shard_is_kept_or_failed_for_its_reason(job, name):
    found = [(row["key"], row["reason"]) for row in job.rows(name)]
    assert [key for key, _ in found] == [key for key, _ in SHARDS[name].rows]
    for (key, reason), (_, wanted) in zip(found, SHARDS[name].rows, strict=True):
        assert begins(reason, wanted), (key, reason, wanted)


@pytest.mark.parametrize("name", names(lambda shard: shard.rows is ...))
def test_of_a_damaged_compressed_shard_the_samples_before_the_damage_are_in_the_ledger(job, name):
    keys = [row["key"] for row in job.rows(name) if row["status"] == "kept"]
    assert keys == [f"{index:02d}" for index in range(len(keys))] or keys == ["a", "b"][: len(keys)]


@pytest.mark.parametrize("name", names())
def test_a_shard_that_is_not_read_to_its_end_is_recorded_with_reason_and_offset_and_no_other(job, name):
    errors = job.errors_of(name)
    if SHARDS[name].error is None:
        assert errors == []
        return
    (error,) = errors
    assert SHARDS[name].error in error["reason"]
    assert 0 <= error["offset"] <= max(len(SHARDS[name].data), 1 << 30 if ".tar." in name else 0)


@pytest.mark.parametrize("name", names())
def test_in_small_ranges_the_shard_gives_the_same_rows_and_the_same_error(job, small_ranges, name):
    facts = ("key", "offset", "status", "reason", "width", "height", "format", "sha256", "phash", "caption")
    rows, other = ([tuple(row[fact] for fact in facts) for row in one.rows(name)] for one in (job, small_ranges))
    assert other == rows
    errors, others = ([(e["offset"], e["reason"]) for e in one.errors_of(name)] for one in (job, small_ranges))
    assert others == errors


@pytest.mark.parametrize("name", names(lambda shard: shard.unlike_webdataset is None))
def test_the_rows_are_the_samples_that_webdataset_reads_as_far_as_it_reads(job, name):
    read, stopped = [], None
    try:
        read = webdataset_samples(SHARDS[name].data)
    except Exception as error:
        stopped = error
    keys = [row["key"] for row in job.rows(name)]
    wanted = [readable(reference.key) for reference in read]
    assert stopped or keys[: len(wanted)] == wanted
    assert stopped or job.errors_of(name) or keys == wanted


def test_the_good_shards_between_are_kept_whole(job):
    for name in ("aa-good.tar", "m-good.tar", "zz-good.tar"):
        assert [row["status"] for row in job.rows(name)] == ["kept", "kept"]


def test_the_ledger_balances(job):
    counts = job.manifest["counts"]
    statuses = collections.Counter(row["status"] for row in job.ledger)
    assert statuses == {"kept": counts["kept"], "failed": counts["failed"]}
    assert counts["seen"] == len(job.ledger) == len({row["sample_id"] for row in job.ledger})
    assert sum(counts["failed_by_reason"].values()) == counts["failed"]


def test_kept_members_are_those_of_the_input_bit_for_bit(job, raw, capsys):
    capsys.readouterr()
    code = verify_output.main([str(job.output)])
    told, last = capsys.readouterr().out.splitlines()
    assert (code, last) == (1, f"{job.output}: 1 difference")
    assert f"{raw / 'members-interleaved.tar'}: members stand apart from their samples" in told


def test_the_output_can_be_read_by_webdataset_and_every_kept_sample_is_in_it(job):
    tars = sorted(str(tar) for tar in job.output.glob("*.tar"))
    written = [sample["__key__"] for sample in wds.WebDataset(tars, shardshuffle=False)]
    assert written == [row["output_key"] for row in job.ledger if row["status"] == "kept"]


def test_nothing_is_written_but_the_output_directory(surroundings):
    before, after, job = surroundings
    outside = {path: content for path, content in after.items() if not path.startswith(str(job.output))}
    assert outside == before
    assert not pathlib.Path("/tmp/hostile-escaped.jpg").exists()
    assert not list(job.output.glob("_tmp"))


def test_kinds_of_reasons_are_few_however_many_a_shard_invents(job):
    assert len(job.manifest["counts"]["failed_by_reason"]) < 30
    assert job.manifest["counts"]["failed_by_reason"]["repeated member"] >= 500


def test_what_is_printed_holds_no_control_characters_of_the_input(job):
    assert job.printed.replace("\n", "").isprintable()
    assert "escaped" not in job.printed


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_are_read_or_none_and_never_more_than_64_kib(job, name):
    (row,) = [row for row in job.rows("caption_shards-captions.tar") if row["key"] == name]
    assert row["caption"] == CAPTIONS[name][1]


def test_the_job_takes_no_more_memory_than_a_gigabyte_and_a_half(job):
    assert int(job.printed.split("peak_rss_kib")[1]) * 1024 < 1_500_000_000
