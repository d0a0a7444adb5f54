"""The select benchmark at a small size: the jobs that it makes are finished jobs, and its tables tell of them."""

import re
import subprocess
import sys
import tarfile

import pytest

from beam_curator.output.manifest import read_manifest
from benchmarks import select
from benchmarks.photos import make_shards
from benchmarks.select_data import JobSize, flags_of_job, make_scored_job
from benchmarks.select_job import run_job
from tests.warm_python import ROOT

SIZE = JobSize(samples=1200, samples_per_shard=500, images=1000, range_mb=0.5)


@pytest.fixture(autouse=True)
def _started_at_once(warm, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(warm.programs / "python"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("select") / "rows"
    make_scored_job(directory, SIZE)
    return directory


def test_a_made_job_is_one_that_the_main_job_takes_for_its_own_and_selects_from(made):
    job = run_job(made, [*flags_of_job(made, SIZE), *select.KEEP_MORE])
    counts = read_manifest(str(made / "curated"))["counts"]
    assert counts["seen"] == 1200
    assert counts["failed"] == 0
    assert job.phases["reading of parts"].calls == len(list((made / "curated" / "scores").iterdir())) > SIZE.shards
    assert job.phases["copying"].calls == len(list((made / "curated").glob("*.tar")))
    assert 0 < job.seconds_before_copying < job.seconds
    assert 200 < counts["kept"] < 500  # of a normal distribution, what is half a deviation above the mean


@pytest.mark.parametrize(("code", "stdout"), [(1, ""), (0, "scored 5 images in 1s")])
def test_a_job_that_failed_or_scored_images_is_no_measurement(tmp_path, monkeypatch, code, stdout):
    ended = subprocess.CompletedProcess([], code, stdout, "what was wrong")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(SystemExit, match=r"exit code 1:\nwhat was wrong|scored 5 images"):
        run_job(tmp_path, [])


def test_the_table_of_rows_has_every_phase(tmp_path, capfd):
    flags = ["--rows", "600", "--samples_per_shard", "300", "--copy_mb", "0"]
    assert select.main([*flags, "--dir", str(tmp_path / "bench")]) == 0
    printed = capfd.readouterr().out
    for name in ("planning", "reading of parts", "ledger", "copying", "all before copying", "the whole job"):
        assert re.search(rf"^\| {name} +\| +[0-9.]+ \|", printed, re.MULTILINE), name
    assert not list((tmp_path / "bench").iterdir())


@pytest.mark.parametrize(
    ("images", "copied"),
    [(["--copy_image_kb", "50"], "40 images of noise, 52 KB"), (["--copy_photos", "3"], "drawn photographs, ")],
)
def test_the_table_of_copying_has_every_way(images, copied, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(select, "default_cache", lambda: tmp_path / "cache")
    flags = ["--rows", "0", "--copy_mb", "2", *images, "--repeats", "1", "--cache", "cold"]
    assert select.main([*flags, "--dir", str(tmp_path / "bench")]) == 0
    printed = capfd.readouterr().out
    assert copied in printed
    for name in ("job", "cp -r", "cat"):
        assert re.search(rf"^\| {name} +\| +[0-9,]+ \| +[0-9.]+ \|", printed, re.MULTILINE), name
    assert not list((tmp_path / "bench").iterdir())


def test_copied_photographs_are_drawn_ones_from_the_first_again_when_they_run_out(tmp_path):
    photographs = make_shards(tmp_path / "cache", 3, images_per_shard=2)
    make_scored_job(tmp_path / "job", JobSize(samples=8, samples_per_shard=4, images=photographs))
    copied = [jpeg for path in sorted((tmp_path / "job" / "raw").iterdir()) for jpeg in _jpegs_of(path)]
    assert copied == (photographs.jpegs() * 3)[:8]


def _jpegs_of(path):
    with tarfile.open(path) as tar:
        return [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]
