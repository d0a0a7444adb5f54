"""WriteShards: what it records of the batches that come to it, and what goes on when a shard cannot be written."""

import threading

import pytest

from beam_curator.errors import StorageError
from beam_curator.output.manifest import read_manifest
from beam_curator.output.output_shard import WrittenShard
from beam_curator.transforms import writing
from beam_curator.transforms.writing import WriteShards
from tests.batches import MEMBERS, scored_batches
from tests.eager import eager
from tests.patience import HANG_SECONDS
from tests.tars import tar_bytes


@pytest.mark.slow
def test_the_manifest_says_how_often_the_micro_batch_was_halved_and_a_run_that_changes_nothing_leaves_it(tmp_path):
    batches = scored_batches(tmp_path, tar_bytes(MEMBERS))
    halved = [batch.replace(batch_reductions=index) for index, batch in enumerate(batches)]
    expected = sum(range(len(batches)))
    assert expected > 0
    for run in (halved, batches):  # the second finds all scored, and has nothing to halve
        eager(WriteShards(str(tmp_path / "out")), run)
        assert read_manifest(str(tmp_path / "out"))["timings"]["batch_reductions"] == expected


def test_behind_a_shard_that_failed_those_under_way_end_before_its_error_is_raised(monkeypatch):
    begun, ended = [], []
    second_runs, first_failed = threading.Event(), threading.Event()

    def write_shard(output, index, runs):
        begun.append(index)
        if index == 0:
            assert second_runs.wait(HANG_SECONDS)
            first_failed.set()
            raise StorageError("cannot write 00000.tar")
        second_runs.set()
        assert first_failed.wait(HANG_SECONDS)
        threading.Event().wait(0.2)  # long enough for the first one's error to be raised before, if it were
        ended.append(index)
        return WrittenShard(index, 1, 1)

    monkeypatch.setattr(writing, "write_shard", write_shard)
    writer = writing._WriteShards("out")
    writer.setup()
    writer.start_bundle()
    assert [list(writer.process((index, []), None, 0)) for index in range(2)] == [[], []]
    with pytest.raises(StorageError, match="cannot write 00000"):
        list(writer.process((2, []), None, 0))
    assert 1 in ended
    assert set(ended) == set(begun) - {0}  # a third one may have begun by then
    assert all(shard.done() for shard in writer._writing)
    writer.teardown()


def test_a_shard_is_begun_while_an_earlier_one_goes_on_behind_which_another_has_ended(monkeypatch):
    third_runs = threading.Event()

    def write_shard(output, index, runs):
        if index == 0:
            assert third_runs.wait(HANG_SECONDS), "the third shard waits for the first"
        if index == 2:
            third_runs.set()
        return WrittenShard(index, 1, 1)

    monkeypatch.setattr(writing, "write_shard", write_shard)
    writer = writing._WriteShards("out")
    writer.setup()
    writer.start_bundle()
    given = [one for index in range(3) for one in writer.process((index, []), None, 0)]
    given += writer.finish_bundle()
    assert [one.value.index for one in given] == [0, 1, 2]
    writer.teardown()
