"""Faults: which may pass and are tried again, and what is said of those that stay."""

import errno
import re
import types

import pytest
from apache_beam.io.filesystem import BeamIOError

from beam_curator.errors import StorageError, first_line
from beam_curator.storage import retrying
from beam_curator.storage.retrying import is_absent, naming, retried, why_permanent
from tests.http_error import HttpError


class RetryError(Exception):
    """Google's, of what it has tried again in vain for a while: all that says so is its name."""


# trying again


@pytest.mark.parametrize(
    "error",
    [
        OSError("connection reset"),
        TimeoutError(),
        BeamIOError("match failed", {"gs://b/a": OSError("503")}),
        BeamIOError("match failed", None),
        HttpError(503),
        HttpError(429),
        HttpError(408),
        RetryError("Timeout of 30.0s exceeded"),
        StorageError("cannot read a"),
    ],
)
def test_transient_faults_are_tried_again_with_growing_waits(waits, error):
    attempts = []
    if isinstance(error, StorageError):
        error.__cause__ = HttpError(500)

    @retried
    def read():
        attempts.append(1)
        if len(attempts) < 4:
            raise error
        return "read"

    assert read() == "read"
    assert len(attempts) == 4
    assert len(waits) == 3
    assert waits[0] < waits[1] < waits[2]


def test_what_google_gave_up_for_now_is_no_sample_that_fails_for_good():
    with pytest.raises(StorageError, match="cannot read gs://b/a: Timeout of 30") as raised, naming("read", "gs://b/a"):
        raise RetryError("Timeout of 30.0s exceeded")
    assert why_permanent(raised.value) is None


class S3Error(Exception):
    """An error as botocore's ClientError."""

    def __init__(self, code, status):
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError("gone"), "no such file"),
        (S3Error("AccessDenied", 403), "no permission (AccessDenied)"),
        (HttpError(404), "there is no such bucket or object (404 answer)"),
        (ValueError("embedded null byte"), "embedded null byte"),
        (S3Error("ExpiredToken", 400), None),
        (S3Error("InvalidAccessKeyId", 403), None),
        (HttpError(401), None),
        (OSError(errno.ENOSPC, "No space left on device"), None),
        (RuntimeError("no credentials are found"), None),
        (TypeError("a bug"), None),
    ],
)
def test_samples_fail_for_good_only_for_what_is_said_of_their_file(error, told):
    with pytest.raises(StorageError) as raised, naming("read", "s3://b/a"):
        raise error
    assert why_permanent(raised.value) == told


def test_a_fault_that_stays_is_raised_in_the_end(waits):
    @retried
    def read():
        raise OSError("connection reset")

    with pytest.raises(OSError, match="connection reset"):
        read()
    assert len(waits) == 4


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("gone"),
        PermissionError("not yours"),
        IsADirectoryError(),
        BeamIOError("open failed", {"a": FileNotFoundError("gone")}),
        BeamIOError("rename failed", {("a", "b"): OSError(PermissionError("not yours"))}),
        OSError(errno.ENOSPC, "No space left on device"),
        BeamIOError("rename failed", {("a", "b"): OSError(errno.EROFS, "Read-only file system")}),
        HttpError(403),
        BeamIOError("delete failed", {"a": HttpError(404)}),
        ValueError("a bug"),
    ],
)
def test_missing_files_permissions_full_disks_refusals_and_bugs_are_not_tried_again(waits, error):
    attempts = []

    @retried
    def read():
        attempts.append(1)
        raise error

    with pytest.raises(type(error)):
        read()
    assert (len(attempts), waits) == (1, [])


def test_attempts_inside_attempts_do_not_multiply(waits):
    attempts = []

    @retried
    def read():
        attempts.append(1)
        raise OSError("connection reset")

    @retried
    def read_and_write():
        read()

    with pytest.raises(OSError, match="connection reset"):
        read_and_write()
    assert (len(attempts), len(waits)) == (5, 4)
    with pytest.raises(OSError, match="connection reset"):
        read()
    assert (len(attempts), len(waits)) == (10, 8)


def test_a_wait_is_logged_in_one_line(waits, caplog):
    @retried
    def read():
        if not waits:
            raise OSError("connection reset")

    with caplog.at_level("INFO"):
        read()
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert re.fullmatch(r"OSError: connection reset; trying again in 0\.\d s", record.getMessage())


def test_who_waits_long_is_told_what_for_once_in_a_while(waits, caplog, monkeypatch):
    """A server that takes a connection and says nothing: each attempt lasts until its time is over."""
    now = [1000.0]
    monkeypatch.setattr(retrying, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(retrying, "_last_told", 0.0)

    @retried
    def read(seconds):
        now[0] += seconds
        raise StorageError("cannot read http://host/a.jpg: it says nothing") from TimeoutError()

    def told(seconds):
        caplog.clear()
        with pytest.raises(StorageError):
            read(seconds)
        return [record.levelname for record in caplog.records]

    with caplog.at_level("INFO"):
        assert told(1) == ["INFO", "INFO", "INFO", "WARNING"], "a fault that passes soon is nobody's concern"
        now[0] += retrying.TOLD_EVERY_SECONDS
        assert told(20) == ["WARNING", "INFO", "WARNING", "INFO"]
    assert caplog.records[0].getMessage().startswith("cannot read http://host/a.jpg: it says nothing; trying again in")


# what is said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error", "/a"), "Input/output error"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full (No space left on device)"),
        (BeamIOError("Rename failed", {("a", "b"): OSError(PermissionError(13, "Denied"))}), "Denied"),
        (BeamIOError("List failed", {"gs://b/a": HttpError(503)}), "503 answer"),
        (BeamIOError("List failed"), "List failed"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("no such file system\nat all"), "no such file system"),
    ],
)
def test_what_could_not_be_done_is_told_with_the_file_and_the_innermost_reason(error, reason):
    with pytest.raises(StorageError) as raised, naming("read", "gs://b/a"), naming("write", "gs://b/c"):
        raise error
    assert str(raised.value) == f"cannot write gs://b/c: {reason}"
    assert raised.value.__cause__ is error


def test_running_out_of_memory_is_not_the_files_fault():
    with pytest.raises(MemoryError), naming("read", "gs://b/a"):
        raise MemoryError


@pytest.mark.parametrize(("error", "line"), [(OSError("a\nb"), "a"), (OSError(" "), "OSError"), (OSError(), "OSError")])
def test_the_first_line_of_an_error_is_never_empty(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("error", "absent"),
    [(FileNotFoundError(), True), (HttpError(404), True), (HttpError(403), False), (PermissionError(), False)],
)
def test_what_is_absent_is_told_from_what_cannot_be_read(error, absent):
    with pytest.raises(StorageError) as raised, naming("read", "gs://b/a"):
        raise error
    assert is_absent(raised.value) == absent
