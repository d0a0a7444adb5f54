"""Names that are made unique."""

from beam_curator.sources.keys import unique


def test_names_that_come_again_are_numbered_as_they_were_in_time_that_grows_with_their_number():
    assert unique(["a", "b", "a", "a~2", "a", "b"]) == ["a", "b", "a~2", "a~2~2", "a~3", "b~2"]
    many = unique(["a"] * 200_000)
    assert (len(set(many)), many[-1]) == (200_000, "a~200000")
