"""What a job counts and measures: each name that the docs have is there after a job, with its numbers."""

import pathlib
import re

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter

import beam_curator as bc
from beam_curator.phases import Span, phases_told
from beam_curator.transforms import metrics
from tests.tars import tar_bytes, write_shard

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_beams_metrics_tell_what_a_job_did(tmp_path, small_jpeg):
    entries = [("a.jpg", small_jpeg), ("b.jpg", b"no image"), ("c.jpg", b""), ("d.jpg", small_jpeg)]
    shard = write_shard(tmp_path / "a.tar", tar_bytes(entries))
    handler = bc.ClipModelHandler("tiny-untrained", precision="fp32", device="cpu")
    pipeline = beam.Pipeline("FnApiRunner")
    scored = pipeline | bc.ReadSamples(shard.url) | bc.EmbedImages(handler) | bc.ScoreAesthetic("untrained")
    scored | bc.WriteShards(str(tmp_path / "out"))
    result = pipeline.run()
    found = result.metrics().query(MetricsFilter().with_namespace(metrics.NAMESPACE))
    counters = {one.key.metric.name: one.committed for one in found["counters"]}
    distributions = {one.key.metric.name: one.committed for one in found["distributions"]}
    assert {name: count for name, count in counters.items() if count} == {
        "shards_planned": 1,
        "ranges_planned": 1,
        "bytes_planned": shard.size_bytes,
        "ranges_scored": 1,
        "samples_read": 4,
        "bytes_read": shard.size_bytes,
        "samples_scored": 4,
        "samples_failed": 2,
        "failed_not_an_image_that_can_be_decoded": 1,
        "failed_empty_image": 1,
        "samples_kept": 2,
        "samples_listed": 4,
        "samples_written": 2,
        "bytes_written": (tmp_path / "out" / "00000.tar").stat().st_size,
    }
    assert set(counters) <= {*metrics.COUNTERS, *(name for name in counters if name.startswith(metrics.FAILED))}
    assert {name: one.count for name, one in distributions.items()} == {
        "range_read_ms": 1,
        "range_bytes": 1,
        "image_decode_us": 4,
        "model_pass_us": distributions["model_pass_us"].count,
        "shard_write_ms": 1,
    }
    assert 1 <= distributions["model_pass_us"].count <= 4
    assert set(distributions) == set(metrics.DISTRIBUTIONS)
    assert distributions["image_decode_us"].max > 0


def test_the_docs_name_each_metric():
    text = (ROOT / "docs" / "watching.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE))
    known = {**metrics.COUNTERS, **metrics.DISTRIBUTIONS}
    assert {name: told.get(name) for name in known} == known


def test_kinds_of_failures_are_told_apart_and_bounded(monkeypatch):
    monkeypatch.setattr(metrics, "_kinds_met", set())
    assert metrics.counter_of_failure('truncated image: "x" of 12 bytes') == "failed_truncated_image"
    assert metrics.counter_of_failure('truncated image: "y"') == "failed_truncated_image"
    names = {metrics.counter_of_failure(f"a reason {'a' * count}") for count in range(500)}
    assert len(names) <= 40
    assert "failed_for_other_reasons" in names


def test_phases_follow_each_other_from_the_start_to_the_end():
    spans = {"scoring": Span(110, 150, 800), "writing": Span(155, 160, 300)}
    assert phases_told(spans, 100, 170) == [
        {"phase": "planning", "seconds": 10},
        {"phase": "scoring", "seconds": 40, "samples": 800, "samples_per_second": 20},
        {"phase": "selecting", "seconds": 5},
        {"phase": "writing", "seconds": 15, "samples": 300, "samples_per_second": 20},
    ]
    assert phases_told(spans, 100, 170, compares=True)[2] == {
        "phase": "selecting and comparing duplicates",
        "seconds": 5,
    }
    assert phases_told({}, 100, 170) == []
    assert phases_told({"reading scores": Span(101, 101, 5)}, 100, 102)[1]["samples_per_second"] is None
