"""WriteShards: what it records of the batches that come to it."""

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tars import tar_bytes
from test_shards import MEMBERS, scored_batches

from beam_curator.manifest import read_manifest
from beam_curator.writing import WriteShards


def test_the_manifest_says_how_often_the_micro_batch_was_halved_and_a_run_that_changes_nothing_leaves_it(tmp_path):
    batches = scored_batches(tmp_path, tar_bytes(MEMBERS))
    halved = [batch.replace(batch_reductions=index) for index, batch in enumerate(batches)]
    expected = sum(range(len(batches)))
    assert expected > 0
    for run in (halved, batches):  # the second finds all scored, and has nothing to halve
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            pipeline | beam.Create(run) | WriteShards(str(tmp_path / "out"))
        assert read_manifest(str(tmp_path / "out"))["timings"]["batch_reductions"] == expected
