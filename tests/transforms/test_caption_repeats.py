"""Captions that come too often in the whole input, counted the same however it is cut."""

import collections

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from beam_curator.rules.caption_repeats import CaptionRepeats, caption_ids, counts_of, drop_repeated
from beam_curator.samples import SampleBatch, Shard, ShardRange
from beam_curator.transforms.caption_repeats import drop_repeated_captions, repeats_in, without_repeats
from tests.eager import eager


@beam.ptransform_fn
def dropping(batches, rule):
    return without_repeats(batches, rule, repeats_in(batches))


def batch_of(number, captions, status):
    table = pa.table({"status": status, "reason": pa.array([None] * len(status), pa.string()), "caption": captions})
    return SampleBatch(ShardRange(Shard("a.tar", 10), number, number + 1, number, False), table, part="there")


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 50, 400])
def test_all_samples_of_a_caption_that_comes_too_often_go(size):
    random = np.random.default_rng(0)
    captions = [[None, "", " "][n] if n < 3 else f"c{n}" for n in (random.pareto(1, 400) * 3).astype(int).tolist()]
    status = random.choice(["kept", "dropped", "failed"], 400, p=[0.8, 0.1, 0.1]).tolist()
    batches = [batch_of(n, captions[n : n + size], status[n : n + size]) for n in range(0, 400, size)]
    found = eager(dropping(CaptionRepeats(5)), batches[::-1])
    counts = collections.Counter(captions)
    expected = [
        "caption_repeats > 5" if was == "kept" and counts[text] > 5 and (text or "").strip() else None
        for text, was in zip(captions, status, strict=True)
    ]
    found.sort(key=lambda batch: batch.range.start)
    plain = drop_repeated_captions(batches, CaptionRepeats(5))
    assert [(one.rows, one.judged) for one in plain] == [(one.rows, one.judged) for one in found]
    told = [count for batch in found for count in batch.rows["caption_repeats"].to_pylist()]
    assert told == [counts[text] if (text or "").strip() else None for text in captions]
    assert [reason for batch in found for reason in batch.rows["reason"].to_pylist()] == expected
    tallies = [batch.judged["caption_repeats > 5"] for batch in found]
    assert sum(one.dropped for one in tallies) == len(expected) - expected.count(None) > 0
    often = [(text or "").strip() != "" and counts[text] > 5 for text in captions]
    assert sum(one.alone for one in tallies) == sum(o for o, was in zip(often, status, strict=True) if was != "failed")


def test_captions_are_the_same_but_for_whitespace():
    table = pa.table({"caption": ["a  dog", "\n a dog\t", "A dog", None, "a\u00a0dog"]})
    indices, ids = caption_ids(table)
    assert (indices.tolist(), len(set(ids.tolist()))) == ([0, 1, 2, 4], 2)
    assert [one.tolist() for one in counts_of([ids[:1], ids[1:]])] == [[3], [3, 1, 3]]
    assert counts_of([]) == []


def test_a_caption_may_come_as_often_as_is_said():
    table = batch_of(0, ["x", "x", "y"], ["kept"] * 3).rows
    indices, ids = caption_ids(table)
    (counts,) = counts_of([ids])
    assert drop_repeated(table, CaptionRepeats(2), indices, counts)[0]["status"].to_pylist() == ["kept"] * 3
    kept, tallies = drop_repeated(table, CaptionRepeats(1), indices, counts)
    assert kept["status"].to_pylist() == ["dropped", "dropped", "kept"]
    assert tallies["caption_repeats > 1"].alone == 2
