"""Strays: what is removed when a selection is finished, decided bucket by bucket as it would be over all names."""

import collections
import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from beam_curator.output import strays
from beam_curator.output.belonging import is_of_regathered, is_range_file
from beam_curator.output.ledger import ledger_name
from beam_curator.output.packing import Packing
from beam_curator.samples import Shard, ShardRange
from beam_curator.storage import directories

SHARDS = [Shard(f"gs://b/{name}.tar", 9) for name in "abc"]
RANGES = [ShardRange(shard, ordinal, ordinal + 1, ordinal, ordinal == 2) for shard in SHARDS for ordinal in range(3)]
RANGES += [dataclasses.replace(one, start=start, regathered=True) for one in RANGES[:4] for start in (7, 10**12)]
EVERYTHING = [
    *(ledger_name(one) for one in RANGES),
    *(f"{place}/{one.name}.parquet" for one in RANGES for place in ("scores", "fields", "columns/aesthetic")),
    *(f"plans/{shard.name}.json" for shard in SHARDS),
    *("00007.tar", "samples/ledger-000002.parquet"),
]


def due(ranges, there):
    """The rule over all names at once."""
    names, ledgers = {f"{one.name}.parquet" for one in ranges}, set(map(ledger_name, ranges))
    names |= {f"{one.shard.name}.json" for one in ranges}
    selected = {one.shard.name for one in ranges}
    found = []
    for name in there:
        place, _, base = name.rpartition("/")
        of_selected = any(shard in base for shard in selected)
        if (place in ("", "samples") and name not in ledgers) or (place and base not in names and of_selected):
            found.append(name)
    return sorted(found)


@given(st.sets(st.sampled_from(RANGES)), st.sets(st.sampled_from(EVERYTHING)))
def test_buckets_find_what_one_look_at_all_names_finds(ranges, there):
    buckets = collections.defaultdict(lambda: ([], []))
    belong = [n for one in ranges for n in (*strays.belonging_to(one), ledger_name(one))]
    for side, names in enumerate((belong, there)):
        packing = Packing(strays.PACKED, strays.packed, strays.MOST_WAITING)
        packed = [one for name in names for one in packing.add(strays.bucket_of(name), name)] + list(packing.rest())
        for bucket, some in packed:
            buckets[bucket][side].append(some)
    found = [
        name
        for belonging, standing in buckets.values()
        for name in strays.strays(strays.unpacked(belonging), strays.unpacked(standing))
    ]
    assert sorted(found) == due(ranges, there)


def test_files_of_parts_of_a_range_are_known_as_those_of_ranges():
    """Also where digits of the shard's name look like those of a range."""
    for shard in (*SHARDS, Shard("a-0123456789-00000.tar", 9), Shard("gs://b/a_000000000007.tar", 9)):
        whole = ShardRange(shard, 0, 9, 0, last=True)
        parts = [dataclasses.replace(whole, start=start, regathered=True) for start in (9, 10, 10**13)]
        names = [ledger_name(one) for one in (whole, *parts)]
        assert names == sorted(set(names))
        assert {strays.shard_of(name) for name in names} == {shard.name}
        assert all(map(is_range_file, names))
        assert list(map(is_of_regathered, names)) == [False, True, True, True]


def test_names_travel_in_packs_and_none_is_lost():
    names = [f"samples/{RANGES[0].shard.name}-{ordinal:05d}.parquet" for ordinal in range(7)]
    packing = Packing(3, strays.packed, most=100)
    packs = [[one for name in names for one in packing.add(strays.bucket_of(name), name)], list(packing.rest())]
    assert [len(pack) for pack in packs] == [2, 1]
    assert list(strays.unpacked(some for pack in packs for _, some in pack)) == names


def test_what_may_be_a_stray_is_listed_by_name_and_place(tmp_path):
    for name in [*EVERYTHING, "samples/mine.parquet", "notes.txt", "columns/x.parquet", "00001.parquet"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    places = ["plans", "scores", "samples", "columns", "fields", strays.OUTPUT_SHARDS]
    found = [name for place in places for name in strays.standing(str(tmp_path), place, output_shards=2)]
    assert sorted(found) == sorted(EVERYTHING)
    assert list(strays.standing(str(tmp_path / "absent"), "plans", 0)) == []
    assert sorted(directories.iter_files(str(tmp_path), below=True)) == sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    )
