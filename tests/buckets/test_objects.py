"""Objects in buckets: read in ranges, published whole or not at all, listed, deleted, and what is said when refused."""

import gc
import io
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from beam_curator.errors import StorageError
from beam_curator.output.belonging import is_own
from beam_curator.output.compaction import join
from beam_curator.sources import matching
from beam_curator.storage import directories, files
from beam_curator.storage.buckets import objects, services
from beam_curator.storage.buckets.objects import FIRST_WINDOW_BYTES, LAST_WINDOW_BYTES
from tests.buckets.proxy import Fault
from tests.ledger_pieces import pieces


def noise(size):
    return bytes(range(251)) * (size // 251) + bytes(size % 251)


# what a first attempt has removed


def test_a_retry_finds_pieces_joined_and_strays_gone(service, bucket, waits):
    of = pieces(bucket)
    name = join(bucket, 0, of)
    before = service.contents(bucket)
    assert list(before) == [name]
    assert join(bucket, 0, of) == name
    assert service.contents(bucket) == before
    gone = ("plans/a-0123456789.json", "scores/a-0123456789-00000.parquet", "00000.tar", "00000_stats.json")
    assert not any(is_own(f"{bucket}/{one}") for one in gone)
    assert waits == []


def test_connections_of_many_threads_are_kept_for_the_next_requests(service, bucket, caplog):
    service.put(f"{bucket}/a", b"content")
    with caplog.at_level(logging.WARNING, "urllib3.connectionpool"), ThreadPoolExecutor(32) as threads:
        assert set(threads.map(files.read_bytes, [f"{bucket}/a"] * 320)) == {b"content"}
    assert not [one for one in caplog.messages if "pool is full" in one]


# writing


@pytest.mark.parametrize("parts", [0, 0.5, 1, 2, 2.5])
def test_an_object_of_any_size_is_read_as_it_was_written(service, bucket, small_parts, parts):
    content = noise(int(parts * small_parts))
    with files.atomic_writer(bucket, "deep/a b%.bin") as file:
        for first in range(0, len(content), 3_000_000):
            file.write(content[first : first + 3_000_000])
        assert not files.exists(f"{bucket}/deep/a b%.bin")
    assert service.names(bucket) == ["deep/a b%.bin"]
    assert files.size_of(f"{bucket}/deep/a b%.bin") == len(content)
    assert files.read_bytes(f"{bucket}/deep/a b%.bin") == content


@pytest.mark.parametrize("stood_before", [False, True])
@pytest.mark.parametrize("parts", [0.5, 2.5])
def test_a_writer_that_dies_publishes_nothing(service, bucket, small_parts, parts, stood_before):
    if stood_before:
        files.write_bytes(bucket, "a.tar", b"before")

    def die():
        with files.atomic_writer(bucket, "a.tar") as file:
            file.write(noise(int(parts * small_parts)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    gc.collect()
    assert service.contents(bucket) == ({"a.tar": b"before"} if stood_before else {})
    assert service.unfinished_uploads(bucket) == []


def test_a_writer_that_is_closed_and_dropped_publishes_nothing(service, bucket, small_parts):
    bucket_of_url = services.bucket_of(bucket)
    file = objects.ObjectWriter(bucket_of_url, f"{bucket}/a.tar")
    file.write(noise(3 * small_parts))
    file.close()
    del file
    gc.collect()
    assert service.contents(bucket) == {}


@pytest.mark.parametrize("abort_fails_too", [False, True])
def test_an_upload_that_fails_in_the_middle_publishes_nothing(service, bucket, small_parts, abort_fails_too):
    def write():
        with files.atomic_writer(bucket, "a.tar") as file:
            file.write(noise(int(1.5 * small_parts)))
            service.proxy.faults.append(Fault("PUT", "a.tar|upload_id", 403))
            if abort_fails_too:
                service.proxy.faults.append(Fault("DELETE", ".", 403))
            file.write(noise(small_parts))

    with pytest.raises(StorageError, match=rf"^cannot write {bucket}/a.tar: no permission \("):
        write()
    gc.collect()
    assert service.contents(bucket) == {}


def test_a_small_object_is_one_request(service, bucket):
    files.write_bytes(bucket, "job.json", b"{}")
    assert sum(service.proxy.counts().values()) == 1


# reading


def test_a_large_read_is_one_request_for_exactly_its_bytes(service, bucket):
    service.put(f"{bucket}/a.tar", noise(3_000_000))
    with files.open_for_reading(f"{bucket}/a.tar", 3_000_000) as file:
        file.seek(1_000_000)
        assert file.read(1_500_000) == noise(3_000_000)[1_000_000:2_500_000]
    (read,) = service.proxy.reads_of("a.tar")
    assert (read.range.lower(), read.sent_bytes) == ("bytes=1000000-2499999", 1_500_000)
    assert sum(service.proxy.counts().values()) == 1


def test_without_read_ahead_small_reads_are_exact_too(service, bucket):
    service.put(f"{bucket}/a.tar", noise(1_000_000))
    with files.open_for_reading(f"{bucket}/a.tar", 1_000_000, read_ahead=False) as file:
        for offset in (5, 500_000):
            file.seek(offset)
            assert file.read(100) == noise(1_000_000)[offset : offset + 100]
    assert [one.sent_bytes for one in service.proxy.reads_of("a.tar")] == [100, 100]


def test_small_reads_that_follow_each_other_become_few_large_ones(service, bucket):
    size = 2 * LAST_WINDOW_BYTES
    service.put(f"{bucket}/a.tar", noise(size))
    with io.BufferedReader(files.open_for_reading(f"{bucket}/a.tar", size), 8192) as file:
        assert file.read() == noise(size)
    reads = service.proxy.reads_of("a.tar")
    assert sum(one.sent_bytes for one in reads) == size
    assert len(reads) <= 10


def test_leaps_over_large_members_fetch_little(service, bucket):
    service.put(f"{bucket}/a.tar", noise(20_000_000))
    with files.open_for_reading(f"{bucket}/a.tar", 20_000_000) as file:
        for offset in range(0, 20_000_000, 5_000_000):
            file.seek(offset)
            assert file.read(512) == noise(20_000_000)[offset : offset + 512]
    assert [one.sent_bytes for one in service.proxy.reads_of("a.tar")] == [FIRST_WINDOW_BYTES] * 4


def test_the_end_of_an_object_is_the_end_whether_its_size_is_known_or_not(service, bucket):
    service.put(f"{bucket}/a", b"0123456789")
    for size in (None, 10):
        with files.open_for_reading(f"{bucket}/a", size) as file:
            assert (file.read(4), file.read(99), file.read(1)) == (b"0123", b"456789", b"")
            assert (file.seek(-2, io.SEEK_END), file.read(), file.read()) == (8, b"89", b"")


def test_an_object_that_ends_before_its_size_is_a_fault_unless_it_has_become_shorter(service, bucket, waits):
    service.put(f"{bucket}/a", b"0123456789")
    with files.open_for_reading(f"{bucket}/a", size_bytes=12) as file:
        assert file.read(12) == b"0123456789"


@pytest.mark.parametrize("fault", [Fault("GET", "a.bin", 503, times=3), Fault("GET", "a.bin", None, times=3)])
def test_answers_that_fail_or_break_off_are_asked_for_again(service, bucket, waits, fault):
    service.put(f"{bucket}/a.bin", noise(300_000))
    service.proxy.faults.append(fault)
    assert files.read_bytes(f"{bucket}/a.bin") == noise(300_000)
    assert fault.times == 0


# listing and deleting


def test_listing_takes_one_directory_all_below_it_or_what_is_named(service, bucket):
    for name in ("out/a.tar", "out/b.tar", "out/c.txt", "out/below/d.tar", "outside/e.tar", "out/", "f.tar"):
        service.put(f"{bucket}/{name}", b"x")
    listed = directories.list_files(f"{bucket}/out", "*.tar")
    assert [one.path for one in listed] == [f"{bucket}/out/a.tar", f"{bucket}/out/b.tar"]
    assert service.names(f"{bucket}/out") == ["a.tar", "b.tar", "below/d.tar", "c.txt"]
    assert [one.path for one in directories.list_files(bucket)] == [f"{bucket}/f.tar"]
    assert directories.list_files(f"{bucket}/absent") == []
    assert all(one.size_in_bytes == 1 and one.last_updated_in_seconds > 0 for one in listed)


def test_many_names_in_one_place_are_one_listing_and_few_are_asked_for(service, bucket):
    for index in range(20):
        service.put(f"{bucket}/raw/{index:05d}.tar", b"x")
    service.proxy.reset()
    found = matching.match_files([f"{bucket}/raw/{{00001..00100}}.tar"])
    assert [one.path for one in found] == [f"{bucket}/raw/{index:05d}.tar" for index in range(1, 20)]
    assert sum(service.proxy.counts().values()) == 1
    found = matching.match_files([f"{bucket}/raw/{{00019..00020}}.tar"])
    assert [one.path for one in found] == [f"{bucket}/raw/00019.tar"]


def test_a_directory_is_listed_once_for_all_kinds_of_shards(service, bucket):
    for name in ("a.tar", "b.tar.gz", "c.tgz", "notes.txt", "below/d.tar"):
        service.put(f"{bucket}/raw/{name}", b"x")
    service.proxy.reset()
    found = matching.match_files([f"{bucket}/raw/"])
    assert [one.path.rpartition("/")[2] for one in found] == ["a.tar", "b.tar.gz", "c.tgz"]
    assert sum(service.proxy.counts().values()) == 1


def test_deleting_takes_what_is_there_and_absent_ones_are_no_error(service, bucket):
    for name in ("a[1].tar", "a1.tar", "b*"):
        service.put(f"{bucket}/{name}", b"x")
    files.delete([f"{bucket}/a[1].tar", f"{bucket}/b*", f"{bucket}/gone"])
    assert list(service.contents(bucket)) == ["a1.tar"]


# refusals


@pytest.mark.parametrize(("status", "said"), [(401, "the credentials are not accepted"), (403, "no permission")])
def test_a_refusal_is_one_line_that_names_what_was_refused_and_is_not_tried_again(service, bucket, waits, status, said):
    service.proxy.faults.append(Fault(".*", ".", status))
    for doing, operation in [
        (f"cannot read {bucket}/a", lambda: files.read_bytes(f"{bucket}/a")),
        (f"cannot write {bucket}/a", lambda: files.write_bytes(bucket, "a", b"x")),
        (f"cannot list {bucket}/*", lambda: matching.match_files([f"{bucket}/*"])),
        (f"cannot look for {bucket}/a", lambda: files.exists(f"{bucket}/a")),
        (f"cannot delete {bucket}/a", lambda: files.delete([f"{bucket}/a"])),
    ]:
        with pytest.raises(StorageError) as raised:
            operation()
        assert str(raised.value).startswith(f"{doing}: {said} (")
        assert "\n" not in str(raised.value)
    assert waits == []


def test_a_missing_bucket_is_said_to_be_missing(service, waits):
    absent = f"{service.scheme}://there-is-no-such-bucket"
    for doing, operation in [
        (f"cannot list {absent}/raw/*", lambda: matching.match_files([f"{absent}/raw/*"])),
        (f"cannot write {absent}/a", lambda: files.write_bytes(absent, "a", b"x")),
        (f"cannot read {absent}/a", lambda: files.read_bytes(f"{absent}/a")),
    ]:
        with pytest.raises(StorageError) as raised:
            operation()
        assert str(raised.value).startswith(f"{doing}: there is no such bucket or object (")
    assert waits == []


def test_a_url_without_a_bucket_is_one_line(service):
    with pytest.raises(StorageError, match=f"{service.scheme}:// does not name a bucket|does not name a bucket"):
        matching.match_files([f"{service.scheme}:///raw/*"])
