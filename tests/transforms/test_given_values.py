"""Numbers, switches and lists that the library is given: what they cannot be is told when the pipeline is built."""

import numpy as np
import pytest

import beam_curator as bc
from beam_curator.errors import UsageError

WRONG = [
    (lambda: bc.ReadSamples(3), "input=3: a path or url is wanted"),
    (lambda: bc.MatchShards(b"a.tar"), "input=b'a.tar': a path or url is wanted"),
    (lambda: bc.ReadSamples([]), "no input is named"),
    (lambda: bc.ReadSamples("a.tar", range_mb="64"), "range_mb='64': a range needs a size above 0 MiB"),
    (lambda: bc.ReadSamples("a.tar", range_mb=None), "range_mb=None"),
    (lambda: bc.ReadSamples("a.tar", allow_missing="no"), "allow_missing='no': True or False is wanted"),
    (lambda: bc.MatchShards("a.tar", allow_missing=0), "allow_missing=0: True or False is wanted"),
    (lambda: bc.ReadSamples("a.tar", group_by_key="no"), "group_by_key='no': True or False is wanted"),
    (lambda: bc.ReadSamples("a.tar", image_from=3), "image_from=3: write extensions"),
    (lambda: bc.ReadSamples("a.tar", caption_from=["txt", 3]), "write extensions"),
    (lambda: bc.ReadSamples("a.tar", carry=3), "carry=3: write all, none, or names"),
    (lambda: bc.ReadSamples("a.tar", input_format=3), "input_format=3 is none of auto"),
    (lambda: bc.MatchShards("a.tar", image_column=3), "image_column=3: the name of a column is wanted"),
    (lambda: bc.WriteShards("out", max_failed_fraction="0.1"), "max_failed_fraction='0.1': a fraction is from 0 to 1"),
    (lambda: bc.WriteShards("out", samples_per_shard=True), "samples_per_shard=True: a shard holds a whole number"),
    (lambda: bc.WriteShards("out", take_over="no"), "take_over='no': True or False is wanted"),
    (lambda: bc.WriteShards("out", ranges_per_ledger_file=True), "ranges_per_ledger_file=True"),
    (lambda: bc.ExplodeSamples(as_rows="no"), "as_rows='no': True or False is wanted"),
    (lambda: bc.BatchSamples(0), "max_samples=0: a batch holds a whole number of samples, 1 or more"),
    (lambda: bc.DropDuplicates("out", kinds=3), "duplicates=3: some of exact"),
    (lambda: bc.DropDuplicates("out", against=3), "against=3: a path or url is wanted"),
    (lambda: bc.Select(bc.AtLeast), "rules[0]: AtLeast is a class: give an object of it, AtLeast(...)"),
    (lambda: bc.load([]), "a list is no SampleBatch"),
    (lambda: bc.embed_batch(None, bc.ClipModelHandler("tiny-untrained")), "a NoneType is no SampleBatch"),
    (lambda: bc.score_batch("a.tar", bc.ScoreAesthetic("untrained")), "a str is no SampleBatch"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_they_cannot_be_is_one_line(make, message):
    with pytest.raises(UsageError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_pythons_own_where_a_manifest_tells_them():
    writing = bc.WriteShards("out", np.int64(50), max_failed_fraction=np.float32(0.5))
    told = (writing.samples_per_shard, writing.max_failed_fraction, writing.display_data()["samples_per_shard"])
    assert [type(one) for one in told] == [int, float, int]
    assert type(bc.ReadSamples("a.tar", range_mb=np.float32(1)).display_data()["range_mb"]) is float


def test_patterns_may_come_one_by_one():
    read = bc.ReadSamples(f"{name}.tar" for name in "ab")
    assert read.display_data() == read.display_data() == bc.ReadSamples(["a.tar", "b.tar"]).display_data()
