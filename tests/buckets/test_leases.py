"""The lease of an output directory in a bucket: one of many has it."""

import concurrent.futures
import contextlib

import pytest

from beam_curator.commands import curate_images
from beam_curator.errors import UsageError
from beam_curator.output import lease
from beam_curator.output.lease import Claim
from beam_curator.storage import conditional_writing
from beam_curator.storage.buckets.services import bucket_of
from tests.buckets.job_output import TINY
from tests.buckets.proxy import Fault


def test_of_many_who_write_an_object_if_there_is_none_one_does(service, bucket):
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        won = list(threads.map(lambda number: conditional_writing.create(f"{bucket}/o/a", b"%d" % number), range(6)))
    assert sum(won) == 1
    assert conditional_writing.read(f"{bucket}/o/a").content == b"%d" % won.index(True)


def test_an_object_is_replaced_only_as_it_was_read(service, bucket):
    url = f"{bucket}/o/a"
    assert conditional_writing.create(url, b"first")
    before = conditional_writing.read(url)
    assert conditional_writing.replace(url, b"second", before)
    assert not conditional_writing.replace(url, b"third", before)
    assert conditional_writing.read(url).content == b"second"


def test_a_write_whose_answer_is_lost_was_made_by_who_made_it(service, bucket):
    url = f"{bucket}/o/a"
    bucket_of(url)  # whose client asks nothing of this
    service.proxy.faults.append(Fault("PUT|POST", "upload|o/a", None, times=1))
    assert conditional_writing.create(url, b"mine")


def test_one_of_many_jobs_gets_the_lease_and_the_others_are_told_who_has_it(service, bucket):
    def get(number):
        with contextlib.suppress(UsageError):
            return lease.acquire(Claim(f"{bucket}/out", f"job {number}")).token
        return None

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        got = [token for token in threads.map(get, range(6)) if token]
    assert len(got) == 1
    with pytest.raises(UsageError, match=r"is in use: .+ on .+ \(pid \d+\) has held it for \d+ s, last sign of life"):
        lease.acquire(Claim(f"{bucket}/out", "another"))
    lease.release(Claim(f"{bucket}/out", got[0]))
    assert service.names(bucket) == []


def test_a_job_in_a_bucket_leaves_no_lease_and_reads_none_of_its_output(service, bucket, raw):
    service.put_directory(raw, f"{bucket}/data/raw")
    argv = ["--input", f"{bucket}/data/*/*.tar", "--output", f"{bucket}/data/out/", *TINY, *service.flags]
    contents = []
    for _ in range(2):
        assert curate_images.main(argv) == 0
        contents.append(service.contents(f"{bucket}/data/out"))
    assert contents[0] == contents[1]
    assert not [name for name in contents[0] if name.startswith("_tmp")]
