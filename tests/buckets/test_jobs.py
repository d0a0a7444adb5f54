"""Whole jobs from bucket to bucket: the same output as on local files, resumed, selected anew, refused."""

import re

import pytest
from apache_beam.internal.gcp import auth

from beam_curator.commands import curate_images, verify_output
from beam_curator.commands.main import main
from beam_curator.storage import files, retrying
from beam_curator.storage.temporary_names import TEMPORARY
from tests.buckets.job_output import TINY, comparable, without_timings
from tests.buckets.proxy import Fault


@pytest.fixture
def command(service, capsys):
    """Runs a command of ours on the service; gives exit code, output and errors."""

    def run(main, *argv):
        capsys.readouterr()
        code = main([*argv, *service.flags])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def job(command, bucket, service, raw):
    """Runs the main job from raw/ to a directory of the same bucket."""
    service.put_directory(raw, f"{bucket}/raw")
    service.proxy.reset()

    def run(*more, output="out", flags=TINY):
        return command(
            curate_images.main, "--input", f"{bucket}/raw/*.tar", "--output", f"{bucket}/{output}", *flags, *more
        )

    return run


def test_a_job_leaves_in_a_bucket_what_it_leaves_on_local_files(job, command, bucket, service, local_output, raw):
    code, out, err = job()
    assert (code, err) == (0, "")
    assert re.search(r"balance: \d+ kept \+ \d+ dropped \+ \d+ failed = \d+ seen", out)
    first = service.contents(f"{bucket}/out")
    assert comparable(first) == comparable(local_output)
    assert not any(name.startswith(TEMPORARY) for name in first)
    for shard in raw.glob("*.tar"):  # planned in little, scored once, and what is kept read once more
        size, largest_window = shard.stat().st_size, 2 * (512 << 10)
        assert size < service.proxy.bytes_read(f"raw/{shard.name}") < 3 * size + largest_window

    code, out, _ = command(verify_output.main, f"{bucket}/out")
    assert (code, "all as promised" in out) == (0, True)

    service.proxy.reset()
    assert job()[0] == 0  # the same again: nothing is scored, and no shard is written
    written = [one.path for one in service.proxy.exchanges if one.method in ("PUT", "POST")]
    assert not [path for path in written if re.search(r"scores|\d{5}\.tar", path.replace("%2F", "/"))]
    assert without_timings(service.contents(f"{bucket}/out")) == without_timings(first)

    threads = ("--direct_num_workers", "3", "--direct_running_mode", "multi_threading")
    assert job(*threads, output="other")[0] == 0
    assert without_timings(service.contents(f"{bucket}/other")) == without_timings(first)


@pytest.mark.buckets
def test_a_report_is_written_again_from_what_is_in_a_bucket(job, command, bucket, service):
    assert job("--duplicates", "exact,semantic")[0] == 0
    page = service.contents(f"{bucket}/out")["report.html"]
    assert page.count(b"data:image/webp") > 50
    assert b"Semantic: kept by threshold" in page
    files.delete([f"{bucket}/out/{name}" for name in ("report.html", "report.json")])
    code, out, err = command(main, "report", f"{bucket}/out")
    assert (code, err) == (0, "")
    assert out.startswith(f"{bucket}/out/report.html: ")
    assert service.contents(f"{bucket}/out")["report.html"] == page


@pytest.mark.buckets
def test_another_selection_removes_what_it_has_too_much_and_overwriting_begins_anew(job, command, bucket, service):
    assert job("--min_aesthetic", "0")[0] == 0
    shards = [name for name in service.names(f"{bucket}/out") if name.endswith(".tar")]
    service.put(f"{bucket}/out/mine.txt", b"not the job's own")
    service.proxy.reset()
    code, out, err = job("--min_aesthetic", "6")
    assert (code, err) == (0, "")
    assert "scored 0 images" in out
    fewer = [name for name in service.names(f"{bucket}/out") if name.endswith(".tar")]
    assert 0 < len(fewer) < len(shards)
    other = [*TINY, "--decode", "fast"]
    code, _, err = job(flags=other)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "--overwrite" in err
    code, _, err = job("--overwrite", flags=other)
    assert (code, len(err.splitlines())) == (0, 1)
    assert "--overwrite throws away the scores of" in err
    service.proxy.reset()
    assert "mine.txt" in service.names(f"{bucket}/out")


@pytest.mark.buckets
def test_faults_that_pass_do_not_change_the_output(job, service, bucket, monkeypatch, local_output):
    monkeypatch.setattr(retrying.CLOCK, "sleep", lambda seconds: None)
    service.proxy.faults += [
        Fault("GET", r"raw(/|%2F)00000.tar", None, times=2),
        Fault("PUT|POST", r"out/scores|/upload/storage", 503, times=2),
        Fault("PUT|POST", r"out/00000.tar|/upload/storage", 503, times=1),
        Fault("GET", r"scores.*parquet", None, times=1),
    ]
    code, _, err = job()
    assert (code, err) == (0, "")
    assert [fault.times for fault in service.proxy.faults] == [0, 0, 0, 0]
    assert comparable(service.contents(f"{bucket}/out")) == comparable(local_output)


def assert_is_one_line(run, code, *wanted):
    assert (run[0], len(run[2].splitlines())) == (code, 1), run[2]
    for text in wanted:
        assert text in run[2]


def test_what_cannot_be_reached_is_one_line_before_any_work(job, command, bucket, service, tmp_path):
    absent = f"{service.scheme}://there-is-no-such-bucket"
    given = ["--input", f"{bucket}/raw/*.tar", *TINY]
    missing = command(curate_images.main, "--input", f"{absent}/*.tar", "--output", f"{bucket}/out", *TINY)
    assert_is_one_line(missing, 2, f"{absent}/*.tar", "there is no such bucket")
    missing = command(curate_images.main, *given, "--output", f"{absent}/out")
    assert_is_one_line(missing, 2, f"--output {absent}/out", "there is no such bucket")
    missing = command(curate_images.main, "--input", f"{bucket}/none/*.tar", "--output", f"{bucket}/out", *TINY)
    assert_is_one_line(missing, 2, f"no shard matches {bucket}/none/*.tar")
    missing = command(curate_images.main, *given, "--output", f"{bucket}/out", "--model_dir", f"{absent}/models")
    assert missing[0] == 0  # nothing of it is needed by an untrained model

    service.proxy.faults.append(Fault("GET|HEAD", "list-type|/o\\?", 403))
    assert_is_one_line(job(output="listed"), 2, "cannot list", "no permission")
    service.proxy.faults[:] = [Fault("PUT|POST", "job.json|/upload/", 403)]
    assert_is_one_line(job(output="written"), 2, "cannot be written to", "no permission")
    service.proxy.faults.clear()
    assert service.names(f"{bucket}/listed") + service.names(f"{bucket}/written") == []


def test_a_shard_that_may_not_be_read_ends_the_job_with_one_line_and_keeps_what_is_scored(job, bucket, service):
    service.proxy.faults.append(Fault("GET", r"raw(/|%2F)00001.tar", 403))
    assert_is_one_line(job(), 1, f"cannot read {bucket}/raw/00001.tar", "no permission", "run the same command again")
    assert "manifest.json" not in service.names(f"{bucket}/out")


@pytest.fixture
def refused(service, monkeypatch, tmp_path):
    """Credentials that are not accepted, or that are not there; gives what is said of them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    if service.scheme == "s3":
        monkeypatch.setattr(service, "flags", [flag for flag in service.flags if "key" not in flag])
        return "Unable to locate credentials"
    monkeypatch.setattr(auth._Credentials, "_credentials_init", False)
    monkeypatch.setattr(auth._Credentials, "_credentials", None)
    monkeypatch.setattr(service.tokens, "refuses", True)
    return "Invalid JWT Signature"


def test_credentials_that_are_wrong_or_missing_are_one_line_before_any_work(job, refused):
    assert_is_one_line(job(), 2, "cannot be read: cannot look for", refused)
