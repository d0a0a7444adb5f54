"""Counts and long lists as people read them."""

import pytest

from beam_curator.first_few import counted, lines_of, listed, size_text


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (2000, "0, 1, 2 and 1,997 more")]
)
def test_a_long_list_says_how_many_more_there_are(count, text):
    assert listed([str(number) for number in range(count)], shown=3) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (12345, "12,345 files")])
def test_one_is_one_and_others_are_several(count, text):
    assert counted(count, "file") == text


def test_several_are_called_as_they_are_called():
    assert [counted(count, "shard is", "shards are") for count in (1, 2)] == ["1 shard is", "2 shards are"]


def test_lines_that_are_left_out_are_counted_in_one_of_their_own():
    assert lines_of(["a", "b"], shown=2) == ["a", "b"]
    assert lines_of(["a", "b", "c"], "  ", ": see there", shown=2) == ["a", "b", "  ... and 1 more: see there"]


def test_bytes_are_told_as_people_do():
    told = [size_text(size) for size in (0, 999, 14_500_000, 2.5e13)]
    assert told == ["0 B", "999 B", "14.5 MB", "25.0 TB"]
