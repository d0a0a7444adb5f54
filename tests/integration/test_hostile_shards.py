"""One job over more than a hundred hostile shards: what is good goes through, and the ledger says why the rest does not."""

import collections
import contextlib
import dataclasses
import hashlib
import io
import json
import pathlib
import subprocess
import sys

import hostile
import pytest
import webdataset as wds
from integration_content import ledger
from tars import webdataset_samples

from pipelines import curate_images, verify_output

SHARDS = hostile.all_shards()
FLAGS = ["--clip_model", "tiny-untrained", "--min_aesthetic", "-99", "--max_nsfw", "2", "--samples_per_shard", "50"]


def names(wanted=lambda shard: True):
    return [name for name, shard in SHARDS.items() if wanted(shard)]


@dataclasses.dataclass(frozen=True)
class Job:
    raw: pathlib.Path
    output: pathlib.Path
    code: int
    printed: str
    errors: str

    def rows(self, name):
        return [row for row in self.ledger if row["shard"] == str(self.raw / name)]

    @property
    def ledger(self):
        if not hasattr(self, "_ledger"):
            object.__setattr__(self, "_ledger", ledger(self.output))
        return self._ledger

    @property
    def manifest(self):
        return json.loads((self.output / "manifest.json").read_text())

    def errors_of(self, name):
        return [broken for broken in self.manifest["broken_shards"] if broken["shard"] == str(self.raw / name)]


def listing(directory):
    """All that stands under a directory, and its content."""
    found = sorted(path for path in directory.rglob("*"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None for path in found}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hostile") / "world" / "raw"
    directory.mkdir(parents=True)
    for name, shard in SHARDS.items():
        (directory / name).write_bytes(shard.data)
    return directory


def run_job(raw, output, *flags):
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        code = curate_images.main(["--input", str(raw), "--output", str(output), *FLAGS, *flags])
    return Job(raw, output, code, printed.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def surroundings(raw):
    """What stood around the input and in the working directory before and after the job: (before, after)."""
    world = raw.parent
    with contextlib.chdir(world) if sys.version_info >= (3, 11) else _chdir(world):
        before = listing(world)
        job = run_job(raw, world / "out")
        after = listing(world)
    return before, after, job


@contextlib.contextmanager
def _chdir(directory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        yield


@pytest.fixture(scope="module")
def job(surroundings):
    return surroundings[-1]


@pytest.fixture(scope="module")
def small_ranges(raw, tmp_path_factory):
    """The same in ranges of about four kilobytes: many a shard is cut into several."""
    return run_job(raw, tmp_path_factory.mktemp("small") / "out", "--range_mb", "0.004")


def test_the_job_goes_to_its_end(job, small_ranges):
    assert (job.code, job.errors) == (0, "")
    assert (small_ranges.code, small_ranges.errors) == (0, "")


def begins(reason, wanted):
    if wanted is hostile.KEPT:
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
    wanted = [
        reference.key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for reference in read
    ]
    assert stopped is not None or keys[: len(wanted)] == wanted
    assert stopped is not None or job.errors_of(name) or keys == wanted


def test_the_good_shards_between_are_kept_whole(job):
    for name in ("aa-good.tar", "m-good.tar", "zz-good.tar"):
        assert [row["status"] for row in job.rows(name)] == ["kept", "kept"]


def test_the_ledger_balances(job):
    counts = job.manifest["counts"]
    statuses = collections.Counter(row["status"] for row in job.ledger)
    assert statuses == {"kept": counts["kept"], "failed": counts["failed"]}
    assert counts["seen"] == len(job.ledger) == len({row["uid"] for row in job.ledger})
    assert sum(counts["failed_by_reason"].values()) == counts["failed"]


def test_kept_members_are_those_of_the_input_bit_for_bit(job, raw, capsys):
    capsys.readouterr()
    code = verify_output.main([str(job.output)])
    assert code == 0, capsys.readouterr().out


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


@pytest.mark.parametrize("name", hostile.CAPTIONS)
def test_captions_are_read_or_none_and_never_more_than_64_kib(job, name):
    (row,) = [row for row in job.rows("caption_shards-captions.tar") if row["key"] == name]
    assert row["caption"] == hostile.CAPTIONS[name][1]


MEASURED_RUN = """
import resource, sys
from pipelines import curate_images
code = curate_images.main(sys.argv[1:])
print("peak_rss_kib", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def test_bombs_take_no_more_memory_than_a_gigabyte_and_a_half(raw, tmp_path):
    (tmp_path / "raw").mkdir()
    for name in names():
        if "bomb" in name or "images" in name or "captions" in name or "claims" in name or "gigabyte" in name:
            (tmp_path / "raw" / name).symlink_to(raw / name)
    assert len(list((tmp_path / "raw").iterdir())) > 10
    argv = ["--input", f"{tmp_path}/raw", "--output", f"{tmp_path}/out", *FLAGS]
    run = subprocess.run([sys.executable, "-c", MEASURED_RUN, *argv], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.split("peak_rss_kib")[1]) * 1024 < 1_500_000_000
