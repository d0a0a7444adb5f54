"""What verification is made of: rows looked up by uid, values compared, places read back, input found where it went."""

import pyarrow as pa
import pytest

from beam_curator import rows
from beam_curator.output.moved_input import Move, root_of
from beam_curator.output.placing import output_key, shard_name
from beam_curator.verification.differences import Difference, match_rows, unequal, unequal_columns, unequal_fields
from beam_curator.verification.output_shards import check_place, place_of

NAN = float("nan")


def table(*keys):
    return rows.from_dicts(
        [{"sample_id": f"id-{key}", "shard": "a.tar", "key": key, "offset": ord(key)} for key in keys]
    )


def matched(found, expected):
    both = list(match_rows("part", found, expected))
    pairs = [one for one in both if not isinstance(one, Difference)]
    return pairs, [one.what for one in both if isinstance(one, Difference)]


def test_rows_that_are_all_there_in_order_match_without_a_difference():
    assert matched(table("a", "b"), table("a", "b")) == ([(0, 0), (1, 1)], [])


def test_a_missing_row_is_told_and_the_others_are_found():
    assert matched(table("a", "c"), table("a", "b", "c")) == (
        [(0, 0), (2, 1)],
        ["no row for 'b' at byte 98 of a.tar"],
    )


def test_a_doubled_row_is_told_and_counts_as_its_first():
    assert matched(table("a", "b", "b"), table("a", "b")) == (
        [(0, 0), (1, 1)],
        ["2 rows for 'b' at byte 98 of a.tar"],
    )


def test_a_row_that_is_nobodys_is_told():
    assert matched(table("x", "a"), table("a")) == (
        [(0, 1)],
        ["a row for 'x' at byte 120 of a.tar, which is not in the input there"],
    )


def test_rows_in_another_order_are_told_once_and_found():
    assert matched(table("b", "a"), table("a", "b")) == (
        [(0, 1), (1, 0)],
        ["the rows are not in the order of the input"],
    )


def test_values_are_compared_with_their_types_and_nan_is_the_same_as_nan():
    assert not list(unequal("f", "x", NAN, NAN))
    assert not list(unequal("f", "x", (1, "a"), [1, "a"]))
    for found, due in [(1, True), (None, 0), (0.1, 0.2), (NAN, None), ("a", b"a")]:
        (told,) = unequal("f", "x", found, due)
        assert str(told) == f"f: x is {found!r}, should be {due!r}"


def test_records_are_compared_field_by_field_in_both_directions():
    told = unequal_fields("f", {"a": 1, "b": 2, "more": 3}, {"a": 1, "b": 5, "less": 6}, before="<", after=">")
    assert [one.what for one in told] == [
        "<b> is 2, should be 5",
        "<less> is None, should be 6",
        "<more> is 3, should be None",
    ]


def test_columns_are_compared_value_by_value():
    scores = [pa.table({"key": ["a", "b", "c"], "nsfw": pa.array(values)}) for values in ([NAN, 1, 2], [NAN, 1, 3])]
    assert [one.what for one in unequal_columns("f", *scores, ["key", "nsfw"])] == ["nsfw of 'c' is 2.0, should be 3.0"]


@pytest.mark.parametrize("samples_per_shard", [1, 20, 1000, 100_001])
@pytest.mark.parametrize("place", [0, 1, 19, 20, 999, 100_001, 7_654_321])
def test_a_place_is_read_back_from_the_names_that_packing_gives_it(place, samples_per_shard):
    index, position = divmod(place, samples_per_shard)
    row = {
        "key": "k",
        "output_shard": f"{shard_name(index)}.tar",
        "output_key": output_key(index, position, samples_per_shard),
    }
    assert place_of(row, samples_per_shard) == place
    assert not list(check_place("part", row, place, samples_per_shard))
    (told,) = check_place("part", row, place + 1, samples_per_shard)
    assert f"'k' is in {row['output_shard']} as {row['output_key']}, should be in " in told.what


@pytest.mark.parametrize(
    ("shard", "key"),
    [
        (None, None),
        ("", ""),
        ("00000.tar", "00001" + "0003"),
        ("00000.tar", "000000020"),
        ("0.tar", "00003"),
        ("00000", "000000003"),
    ],
)
def test_names_that_packing_does_not_give_are_no_place(shard, key):
    assert place_of({"output_shard": shard, "output_key": key}, 20) is None


@pytest.mark.parametrize(
    ("patterns", "root"),
    [
        (["/data/raw/*.tar", "/data/raw/*.tgz"], "/data/raw/"),
        (["/data/raw/00000.tar"], "/data/raw/"),
        (["/data/raw/a/*.tar", "/data/raw/b/1.tar"], "/data/raw/"),
        (["/data/r[a]w/x.tar", "/data/raw/x.tar"], "/data/"),
        (["raw/*.tar"], "raw/"),
        (["*.tar"], ""),
        (["gs://bucket/raw/*.tar", "gs://bucket/raw2/*.tar"], "gs://bucket/"),
        (["gs://a/*.tar", "s3://a/*.tar"], ""),
        (["/x.tar"], "/"),
    ],
)
def test_the_root_of_the_input_is_the_deepest_directory_that_holds_all_of_it(patterns, root):
    assert root_of(patterns) == root


def test_input_that_moved_is_found_there_and_keeps_the_name_that_the_job_knew():
    move = Move("gs://bucket/raw/", "/mnt/copy/")
    assert move.there("gs://bucket/raw/a/*.tar") == "/mnt/copy/a/*.tar"
    assert move.back("/mnt/copy/a/1.tar") == "gs://bucket/raw/a/1.tar"
    assert Move().there("raw/1.tar") == Move().back("raw/1.tar") == "raw/1.tar"
