"""A whole selection: the same rows whether they wait with all columns or with some, and how small they are then."""

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from beam_curator import rows
from beam_curator.commands.rule_flag import NamedTableRule
from beam_curator.errors import CurationError, JobError
from beam_curator.output.score_steps import Wanted
from beam_curator.output.whole_rows import with_all_columns
from beam_curator.rules.caption_repeats import CaptionRepeats
from beam_curator.rules.column_rules import AtLeast
from beam_curator.rules.lists import ListFile
from beam_curator.rules.top import Top
from beam_curator.rules.waiting import waiting_rows
from beam_curator.rules.where import Where
from beam_curator.samples import SampleBatch
from beam_curator.transforms.whole_selection import Selection, WholeSelection
from beam_curator.transforms.wire_format import decode_batch, encode_batch
from tests.batches import AESTHETIC, ENCODER, MEMBERS, scored_batches
from tests.eager import eager
from tests.tars import tar_bytes

WANTED = Wanted(ENCODER, (AESTHETIC,))
CAPTIONS = [None, "", " ", "a dog", "a dog", "a  dog", "a cat", "a cat", "a bird", "café"]


@pytest.fixture
def batches(tmp_path):
    """Ranges whose parts stand; of their captions some come again."""
    entries = [(f"{key}{n}.{end}", data) for n in range(8) for key, data in (("x", b"i" * 900),) for end in ("jpg",)]
    scored = scored_batches(tmp_path, tar_bytes([*MEMBERS, *entries]), output="out")
    assert len(scored) > 2
    return scored


def with_captions(batches):
    """The same batches with captions, as if the parts had them."""
    found, start = [], 0
    for batch in batches:
        texts = [CAPTIONS[(start + index) % len(CAPTIONS)] for index in range(len(batch))]
        found.append(batch.replace(rows=rows.with_column(batch.rows, "caption", texts)))
        start += len(batch)
    return found


@pytest.mark.slow
def test_rows_wait_with_few_columns_and_the_same_are_kept(batches, tmp_path):
    given = with_captions(batches)
    keys = [key for batch in given for key in batch.rows["key"].to_pylist()]
    (tmp_path / "bad.txt").write_text("\n".join(keys[::4]))
    (tmp_path / "good.txt").write_text("\n".join(keys[:-1]))
    lists = [ListFile(str(tmp_path / "good.txt"), "key", True), ListFile(str(tmp_path / "bad.txt"), "key", False)]
    tops = (Top("aesthetic", fraction=0.8), Top("bytes", count=2))
    selection = Selection([AtLeast("aesthetic", 4.2)], CaptionRepeats(2), lists, tops)
    expected = given
    for step in selection.plain_steps:
        expected = step(expected)
    found = sorted(eager(WholeSelection(selection, WANTED), given[::-1]), key=lambda batch: batch.range.start)
    reasons = [reason for batch in expected for reason in batch.rows["reason"].to_pylist()]
    assert len(set(reasons)) > 5  # each step drops something, and something stays
    for one, other in zip(found, expected, strict=True):
        names = ["sample_id", "status", "reason", "caption_repeats"]
        assert one.rows.select(names).equals(other.rows.select(names))
        assert one.judged == other.judged
        assert "sha256" not in one.rows.schema.names
        whole = with_all_columns(one, WANTED)
        stored = with_all_columns(other, WANTED)
        assert whole.rows.equals(stored.rows)
        assert whole.rows["key"].equals(other.rows["key"])


def test_what_a_selection_looks_at_is_known_but_for_rules_of_the_user():
    lists, tops = [ListFile("x.txt", "uid", False)], [Top("nsfw", count=3)]
    rules = [
        AtLeast("Width", 3),
        Where("aesthetic > 3 OR Caption ILIKE '%x%'"),
        NamedTableRule("a", Where("bytes > 3")),
    ]
    found = Selection(rules, None, lists, tops).looked_at
    counted = {"sample_id", "status", "reason", "images", "caption"}
    assert found == {*counted, "width", "aesthetic", "bytes", "json.uid", "nsfw"}
    assert Selection(rules).looked_at is None  # nothing is read again
    assert Selection([*rules, lambda row: row["key"]], None, lists, tops).looked_at is None

    class Odd(AtLeast):
        def decide(self, table):
            return super().decide(table.filter(table["key"].is_valid()))

    assert Selection([Odd("width", 3)], None, lists, tops).looked_at is None


def test_without_a_step_that_waits_rows_keep_their_columns(batches):
    found = eager(WholeSelection(Selection([AtLeast("aesthetic", 4.2)]), WANTED), batches)
    assert [batch.rows.schema.names for batch in found] == [batch.rows.schema.names for batch in batches]


def test_what_rows_left_is_what_stands_and_a_part_that_is_another_is_told(batches):
    batch = batches[0]
    waiting = batch.replace(rows=waiting_rows(batch.rows))
    assert with_all_columns(waiting, WANTED).rows.equals(batch.rows)
    other = waiting.replace(rows=rows.with_column(waiting.rows, "sample_id", ["x"] * len(batch)))
    for wrong in (other, waiting.replace(range=batches[1].range)):
        with pytest.raises(JobError, match="the scores of a range are gone that were there"):
            with_all_columns(wrong, WANTED)
    with pytest.raises(CurationError, match="write its scores first"):
        with_all_columns(waiting.replace(part=None), WANTED)


def test_of_texts_only_whether_they_say_anything_waits():
    table = pa.table({"caption": CAPTIONS, "sha256": ["ab" * 32, None] * 5, "status": ["kept"] * 10})
    waiting = waiting_rows(table, [ListFile("x.txt", "sha256", False)])
    assert waiting["caption"].to_pylist() == [None, "", " ", *"x" * 7]
    assert waiting["sha256"].to_pylist() == ["x", None] * 5
    assert waiting.schema.names == ["status", "caption", "sha256"]


def test_a_row_that_waits_takes_some_tens_of_bytes_on_its_way(batches):
    random, count = np.random.default_rng(0), 4000
    facts = {
        "sample_id": [f"00000.tar:{1536 * n}:{random.integers(1 << 32):08x}" for n in range(count)],
        "status": ["kept"] * count,
        "reason": pa.nulls(count, pa.string()),
        "images": pa.array([1] * count, pa.int32()),
        "caption": ["a photo of a dog"] * count,
        "aesthetic": pa.array(random.normal(5, 1, count), pa.float32()),
    }
    batch = batches[0].replace(rows=waiting_rows(pa.table(facts), (), (Top("aesthetic", fraction=0.5),)))
    encoded = encode_batch(batch)
    assert len(encoded) / count < 25
    assert decode_batch(encoded).rows.equals(batch.rows)
    assert encode_batch(decode_batch(encoded)) == encoded


class Keeps:
    def __init__(self, words):
        self.words = words

    def __call__(self, row):
        return row["key"] not in self.words


def test_what_a_rule_holds_travels_with_the_step_that_asks_it_alone():
    pipeline = beam.Pipeline()
    selection = Selection([Keeps(np.random.default_rng(0).bytes(50_000))], CaptionRepeats(2), (), (Top("bytes", 0.5),))
    pipeline | beam.Create([]).with_output_types(SampleBatch) | WholeSelection(selection, WANTED)
    payloads = [
        beam_runner_api_pb2.ParDoPayload.FromString(one.spec.payload).do_fn.payload
        for one in pipeline.to_runner_api().components.transforms.values()
        if one.spec.urn == "beam:transform:pardo:v1"
    ]
    assert sum(len(payload) > 40_000 for payload in payloads) == 1
