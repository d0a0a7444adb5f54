"""What requests of a job are for, and what one job asks and shuffles more than another."""

from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from benchmarks import shuffles
from benchmarks.emulated_buckets import Request, request_of_google, request_of_s3
from benchmarks.requests import Counts, rows_of_prices, rows_of_requests, rows_of_shuffles, tallied

S3 = "http://127.0.0.1:5000/requests"
GS = "http://127.0.0.1:5000/storage/v1/b/requests"
GS_UPLOAD = "http://127.0.0.1:5000/upload/storage/v1/b/requests/o"


@pytest.mark.parametrize(
    ("method", "url", "found"),
    [
        ("GET", f"{S3}/raw/240/00000.tar", ("read", "shards: copying")),
        ("HEAD", f"{S3}/raw/240/00000.parquet", ("look", "what may stand beside shards")),
        ("PUT", f"{S3}/out/scores/a-0-1.parquet", ("write", "scores")),
        ("GET", f"{S3}/out/plans/a.json", ("read", "plans")),
        ("PUT", f"{S3}/out/_tmp/a.arrows.0", ("write", "pieces of the ledger")),
        ("PUT", f"{S3}/out/samples/ledger-000000.parquet", ("write", "the ledger")),
        ("POST", f"{S3}/out/00001.tar?uploads", ("write", "output shards")),
        ("PUT", f"{S3}/out/00001_stats.json", ("write", "output shards")),
        ("PUT", f"{S3}/out/manifest.json", ("write", "of the job, by time")),
        ("DELETE", f"{S3}/out/_tmp/lease.json", ("delete", "of the job, by time")),
        ("POST", f"{S3}?delete", ("delete", "many, or parts of an upload")),
        ("GET", f"{S3}?list-type=2&prefix=out%2F", ("list", "many, or parts of an upload")),
    ],
)
def test_a_request_to_s3_is_told_by_its_object(method, url, found):
    assert list(tallied([request_of_s3(method, url)], set(), set())) == [found]


@pytest.mark.parametrize(
    ("method", "url", "body", "found"),
    [
        (
            "GET",
            f"{GS.replace('/storage', '/download/storage')}/o/raw%2F0.tar?alt=media",
            b"",
            Request("read", "raw/0.tar"),
        ),
        ("GET", f"{GS}/o/raw%2F0.tar?projection=noAcl", b"", Request("look", "raw/0.tar")),
        ("GET", f"{GS}/o?prefix=out%2F&delimiter=%2F", b"", Request("list", "")),
        ("GET", f"{GS}?projection=noAcl", b"", Request("look", "")),
        ("DELETE", f"{GS}/o/out%2Fa", b"", Request("delete", "out/a")),
        (
            "POST",
            f"{GS_UPLOAD}?uploadType=multipart",
            b'--==\r\n{"name": "out/00001.tar"}',
            Request("write", "out/00001.tar"),
        ),
        ("PUT", f"{GS_UPLOAD}?uploadType=resumable&upload_id=1", b'of the tar {"name": "other"}', Request("write", "")),
    ],
)
def test_a_request_to_google_is_told_by_its_object(method, url, body, found):
    assert request_of_google(method, url, body=body) == found


def test_what_a_shard_is_read_for_is_told_by_its_bytes():
    asked = [Request("read", "raw/0.tar", span) for span in ("bytes=0-9", "bytes=0-99", "bytes=100-199", "bytes=5-8")]
    found = tallied(asked, {"bytes=0-9"}, {"bytes=0-99", "bytes=100-199"})
    assert found == {("read", f"shards: {what}"): n for what, n in {"planning": 1, "scoring": 2, "copying": 1}.items()}


def test_what_a_larger_job_asks_more_is_multiplied_to_very_many_images():
    scores, looks = ("write", "scores"), ("look", "scores")
    few = Counts({"images": 100, "ranges": 2}, {"first": Counter({scores: 2})}, {"first": Counter({"Group": 900})})
    asked = Counter({scores: 10, looks: 20, ("write", "of the job, by time"): 9})
    many = Counts({"images": 500, "ranges": 10}, {"first": asked}, {"first": Counter({"Group": 4900})})
    assert rows_of_requests(few, many) == [
        ["first", *looks, "0", "20", "2.50", "50.0"],
        ["first", "write", "of the job, by time", "0", "9", "1.12", ""],
        ["first", *scores, "2", "10", "1.00", "20.0"],
    ]
    assert rows_of_prices(few, many) == [["first", "20.0", "0.0", "0.0", "50.0", "0.0", "$120"]]
    assert rows_of_shuffles(few, many) == [["first", "Group", "500", "10.0", "10.0"]]


def test_bytes_are_counted_of_each_step_that_groups():
    with shuffles.counted() as found, beam.Pipeline(runner=FnApiRunner()) as pipeline:
        large = pipeline | beam.Create([(number, bytes(1000)) for number in range(10)], reshuffle=False)
        large | "Large" >> beam.GroupByKey()
        large | beam.Map(lambda one: (one[0], 0)) | "Small" >> beam.GroupByKey()
    assert set(found) == {"Large", "Small"}
    assert 10_000 < found["Large"] < 11_000
    assert found["Small"] < 500
