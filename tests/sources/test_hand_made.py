"""Batches made by hand: `bc.batch_of` of samples in memory."""

import io

import apache_beam as beam
import numpy as np
import pytest
import webdataset as wds
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

import beam_curator as bc
from beam_curator.errors import UsageError
from tests.integration.integration_content import ledger


def jpeg(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (90, 120, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def samples():
    return [
        {"__key__": f"pets/{index:03d}", "__url__": "elsewhere", "jpg": jpeg(index), "txt": f"pet {index}"}
        for index in range(5)
    ] + [{"__key__": "broken", "jpg": b"no image", "json": {"caption": "nothing to see"}}]


def test_it_is_a_batch_as_one_that_was_read(samples, tmp_path):
    batch = bc.batch_of(samples, tmp_path / "pets.tar")
    assert batch.rows["key"].to_pylist() == [sample["__key__"] for sample in samples]
    assert batch.rows["caption"].to_pylist() == [*(f"pet {index}" for index in range(5)), "nothing to see"]
    assert [bytes(sample.members["jpg"].data) for sample in batch.samples] == [sample["jpg"] for sample in samples]
    read = [one["__key__"] for one in wds.WebDataset(str(tmp_path / "pets.tar"), shardshuffle=False)]
    assert read == [sample["__key__"] for sample in samples]
    assert [path.name for path in tmp_path.iterdir()] == ["pets.tar"]


@pytest.mark.slow
def test_it_goes_through_every_step_though_create_leaves_it_without_bytes(samples, tmp_path):
    batch = bc.batch_of(samples, tmp_path / "pets.tar")
    output = tmp_path / "out"
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        selected = (
            pipeline
            | beam.Create([batch])
            | bc.EmbedImages(bc.ClipModelHandler("tiny-untrained"))
            | bc.ScoreAesthetic("untrained")
            | bc.ScoreNsfw("untrained")
            | bc.Select(bc.AtLeast("width", 100))
        )
        exploded = (
            selected
            | bc.ExplodeSamples()
            | beam.Map(lambda sample: (sample.key, sample.row["status"], sample.embedding.shape))
        )
        exploded | beam.combiners.ToList() | beam.Map(check_exploded)
        selected | bc.WriteShards(str(output), samples_per_shard=2)
    assert {row["key"]: row["status"] for row in ledger(output)} == {
        **{sample["__key__"]: "kept" for sample in samples[:5]},
        "broken": "failed",
    }
    written = [
        one["jpg"] for tar in sorted(output.glob("*.tar")) for one in wds.WebDataset(str(tar), shardshuffle=False)
    ]
    assert written == [sample["jpg"] for sample in samples[:5]]


def check_exploded(found):
    assert [status for _, status, _ in sorted(found)] == ["failed", *["kept"] * 5]
    assert {shape for *_, shape in found} == {(768,)}


def test_the_same_samples_are_the_same_shard_and_others_do_not_overwrite_it(samples, tmp_path):
    place = str(tmp_path / "made" / "pets.tar")
    first = bc.batch_of(samples, place)
    again = bc.batch_of([dict(one) for one in samples], place)
    assert again.range == first.range
    with pytest.raises(UsageError, match=r"pets\.tar is there already, and holds something else"):
        bc.batch_of(samples[:2], place)
    assert bc.batch_of(samples, place).range == first.range


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "needs one sample at least"),
        ([{"jpg": b""}], 'samples[0] has no "__key__"'),
        ([{"__key__": "a"}], 'samples[0] "a" has no members'),
        ([{"__key__": "a", "jpg": b""}, {"__key__": "v1.0", "jpg": b""}], 'samples[1]: the key "v1.0" has a dot'),
        ([{"__key__": "a/.b", "jpg": b""}], "would be passed over: dot file"),
        ([{"__key__": "a", "jpg": b"", "JPG": b""}], 'samples[0] "a" repeats an extension: jpg, JPG'),
        ([{"__key__": "a", "jpg": b""}] * 2, '2 of them have the key "a"'),
        ([{"__key__": "a", "odd": object()}], 'samples[0] "a" cannot be encoded'),
        ([{"__key__": "a\0b", "jpg": b""}], "samples[0]: the key 'a\\x00b' has a NUL"),
        ([{"__key__": "a", "j\0pg": b""}], "'j\\x00pg' is no extension"),
        ([{"__key__": "a", 3: b""}], "3 is no extension"),
        ([{"__key__": "a", "": b""}], "'' is no extension"),
        (["a.jpg"], "samples[0] is no mapping"),
        ({"__key__": "a", "jpg": b""}, "samples: give a list of them"),
        (None, "samples: give a list of them"),
    ],
)
def test_samples_that_a_shard_cannot_hold_are_refused(samples, message, tmp_path):
    with pytest.raises(UsageError) as caught:
        bc.batch_of(samples, tmp_path / "x.tar")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_bytes_may_be_views_and_samples_come_one_by_one(samples, tmp_path):
    plain = bc.batch_of(samples, tmp_path / "plain.tar")
    views = ({**one, "jpg": kind(one["jpg"])} for one, kind in zip(samples, [memoryview, bytearray] * 3, strict=True))
    bc.batch_of(views, tmp_path / "views.tar")
    assert (tmp_path / "views.tar").read_bytes() == (tmp_path / "plain.tar").read_bytes()
    assert len(plain) == 6


def test_what_is_no_reading_is_refused(samples, tmp_path):
    with pytest.raises(UsageError, match="reading='all' is no Reading"):
        bc.batch_of(samples, tmp_path / "x.tar", "all")
