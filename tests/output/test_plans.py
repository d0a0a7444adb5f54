"""Plans are made once: they equal what planning gives, and are used only for the shard that they were made of."""

import dataclasses
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator.output.plans import KeptPlans, encode_plan, plan_name, plan_of
from beam_curator.samples import Shard
from beam_curator.sources.tar import planning
from beam_curator.sources.tar.planning import ShardPlan, plan_ranges, shard_plan
from tests.examples import examples
from tests.tars import COMPRESSORS, standing, tar_bytes, write_shard

RANGE_BYTES = 10_000
DATA = tar_bytes([(f"{index:04d}.jpg", bytes([index]) * 2000) for index in range(40)])


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path / "a.tar", DATA)


@pytest.fixture
def plans(tmp_path):
    return KeptPlans(str(tmp_path / "out"))


@pytest.fixture
def reads(monkeypatch):
    """Collects the calls that go through a shard's headers."""
    calls = []

    def counted(tar, range_bytes, by_key):
        calls.append(range_bytes)
        return original(tar, range_bytes, by_key)

    original = planning.cut_points
    monkeypatch.setattr(planning, "cut_points", counted)
    return calls


def kept(plans):
    return sorted(pathlib.Path(plans.output).rglob("*.json"))


@pytest.mark.parametrize("compression", ["", "gzip", "bzip2", "xz"])
def test_a_shard_is_gone_through_once(tmp_path, plans, reads, compression):
    shard = write_shard(tmp_path / "a.tar", COMPRESSORS[compression](DATA) if compression else DATA)
    first = list(plan_ranges(shard, RANGE_BYTES, plans))
    assert len(first) > 5
    assert first == list(plan_ranges(shard, RANGE_BYTES, plans)) == list(plan_ranges(shard, RANGE_BYTES))
    assert len(reads) == 2  # once for the plan, once without any
    assert [path.name for path in kept(plans)] == [plan_name(shard).rsplit("/", 1)[-1]]
    assert {plan_of(range) for range in first} == {plan_name(shard)}


def test_a_whole_plain_shard_needs_no_plan(shard, plans):
    (whole,) = plan_ranges(shard, len(DATA), plans)
    assert kept(plans) == []
    assert plan_of(whole) is None


def test_a_compressed_shard_of_one_range_has_a_plan(tmp_path, plans, reads):
    shard = write_shard(tmp_path / "a.tgz", COMPRESSORS["gzip"](DATA))
    (whole,) = plan_ranges(shard, 1 << 30, plans)
    assert (whole.end, plan_of(whole)) == (len(DATA), plan_name(shard))
    assert list(plan_ranges(shard, 1 << 30, plans)) == [whole]
    assert len(reads) == 1


@pytest.mark.parametrize(
    "other", [{"generation": "2"}, {"size_bytes": len(DATA) - 512}], ids=["written again", "another size"]
)
def test_a_changed_shard_is_planned_again(shard, plans, reads, other):
    shard_plan(shard, RANGE_BYTES, plans)
    changed = dataclasses.replace(shard, **other)
    shard_plan(changed, RANGE_BYTES, plans)
    assert len(reads) == 2
    assert plans.recall(changed, RANGE_BYTES) is not None
    assert plans.recall(shard, RANGE_BYTES) is None


def test_ranges_of_another_size_are_planned_again(shard, plans):
    shard_plan(shard, RANGE_BYTES, plans)
    assert shard_plan(shard, 2 * RANGE_BYTES, plans) == shard_plan(shard, 2 * RANGE_BYTES)


@pytest.mark.parametrize(
    "content", [b"", b"no json", b"[]", b"{}", b'{"layout": 3}', b'{"layout": {"cuts": []}}', b"\xff"]
)
def test_a_file_that_is_no_plan_is_replaced(shard, plans, content):
    expected = shard_plan(shard, RANGE_BYTES, plans)
    (path,) = kept(plans)
    path.write_bytes(content)
    assert shard_plan(shard, RANGE_BYTES, plans) == expected
    assert plans.recall(shard, RANGE_BYTES) == expected


def test_a_plan_of_which_one_bit_has_changed_is_made_anew(shard, plans):
    expected = shard_plan(shard, RANGE_BYTES, plans)
    (path,) = kept(plans)
    content = path.read_bytes()
    for place in range(len(content) - 1):  # but for the end of its line
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert plans.recall(shard, RANGE_BYTES) in (None, expected), changed
        assert shard_plan(shard, RANGE_BYTES, plans) == expected


def test_a_plan_of_an_earlier_release_is_used(shard, plans, reads):
    expected = shard_plan(shard, RANGE_BYTES, plans)
    (path,) = kept(plans)
    plan = json.loads(path.read_text())
    del plan["crc32"]
    path.write_text(json.dumps(plan))
    assert shard_plan(shard, RANGE_BYTES, plans) == expected
    assert len(reads) == 1


def test_a_plan_of_another_version_is_not_used(shard, plans):
    shard_plan(shard, RANGE_BYTES, plans)
    (path,) = kept(plans)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 0}))
    assert plans.recall(shard, RANGE_BYTES) is None


def test_read_only_plans_are_used_and_not_added(shard, plans, reads):
    reading = KeptPlans(plans.output, read_only=True)
    expected = shard_plan(shard, RANGE_BYTES, reading)
    assert kept(plans) == []
    shard_plan(shard, RANGE_BYTES, plans)
    assert shard_plan(shard, RANGE_BYTES, reading) == expected
    assert len(reads) == 2


@examples(50)
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=30), st.integers(1, 20_000))
def test_what_is_kept_is_what_was_planned(sizes, range_bytes):
    data = tar_bytes([(f"{index}.jpg", bytes(size)) for index, size in enumerate(sizes)])
    with standing(data) as shard:
        plans = KeptPlans(f"{shard.url}.out")
        assert list(plan_ranges(shard, range_bytes, plans)) == list(plan_ranges(shard, range_bytes, plans))


def test_a_plan_is_the_same_bytes_wherever_it_is_written():
    shard = Shard("gs://bucket/a.tar", 1000, "1.500000")
    assert encode_plan(shard, 10, ShardPlan("", [512], 1000)) == (
        b'{"crc32": "49af8600", '
        b'"group_by_key": false, "layout": {"compression": "", "cuts": [512], "end": 1000, "keys_return": false}, '
        b'"range_bytes": 10, '
        b'"shard": {"generation": "1.500000", "size_bytes": 1000, "url": "gs://bucket/a.tar"}, "version": 2}\n'
    )
