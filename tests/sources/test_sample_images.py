"""Which of a sample's members is its image, and what is said where that is not clear."""

import pytest

from beam_curator.errors import UsageError
from beam_curator.output.outcomes import reason_kind
from beam_curator.reading import Reading
from beam_curator.samples import Member, Sample, Shard, ShardRange
from beam_curator.sources.sample_images import SEVERAL, dotted_names, images_of


def sample(*extensions, **more):
    return Sample("k", 0, 512, {name: Member(name, 0, 1, b"x") for name in extensions}, **more)


def chosen(found):
    return [member.extension for member in found.chosen]


def test_the_only_image_is_chosen_whatever_else_is_there():
    found = images_of(sample("txt", "jpg", "json", "npy"), Reading())
    assert (chosen(found), found.count, found.failure) == (["jpg"], 1, None)


@pytest.mark.parametrize("extensions", [("1.jpg", "2.jpg"), ("l.jpg", "r.jpg"), ("jpg", "png"), ("seg.png", "jpg")])
def test_several_images_fail_with_a_line_that_names_them_and_the_flags(extensions):
    found = images_of(sample(*extensions, "txt"), Reading())
    assert chosen(found) == []
    assert found.count == 2
    assert reason_kind("failed", found.failure) == SEVERAL
    assert "--several_images" in found.failure
    assert "--image_from" in found.failure
    assert all(extension in found.failure for extension in extensions)


def test_the_first_is_one_with_a_plain_extension():
    assert chosen(images_of(sample("seg.png", "jpg"), Reading(several_images="first"))) == ["jpg"]
    assert chosen(images_of(sample("2.jpg", "1.jpg"), Reading(several_images="first"))) == ["2.jpg"]


def test_all_are_chosen_the_first_one_first():
    assert chosen(images_of(sample("seg.png", "txt", "jpg"), Reading(several_images="all"))) == ["jpg", "seg.png"]


@pytest.mark.parametrize(
    ("image_from", "policy", "expected"),
    [
        ("jpg", "fail", ["jpg"]),
        ("seg.png", "fail", ["seg.png"]),
        ("webp,jpg", "fail", ["jpg"]),
        ("SEG.png;jpg", "first", ["seg.png"]),
        ("seg.png", "all", ["seg.png", "jpg"]),
    ],
)
def test_the_image_that_is_named_stands_for_the_sample(image_from, policy, expected):
    reading = Reading(image_from=image_from, several_images=policy)
    found = images_of(sample("seg.png", "txt", "jpg"), reading)
    assert (chosen(found), found.count, found.failure) == (expected, 2, None)


def test_a_member_that_is_named_is_an_image_whatever_it_is_called():
    assert chosen(images_of(sample("img", "txt"), Reading(image_from="img"))) == ["img"]


def test_a_sample_without_what_is_named_fails_and_says_what_it_has():
    found = images_of(sample("png", "txt"), Reading(image_from="jpg"))
    assert found.failure == "no member of --image_from in the sample: it has png, txt"


def test_a_sample_that_lost_its_image_to_another_place_says_so():
    found = images_of(sample("txt", same_key=2), Reading())
    assert (
        found.failure == "no image in the sample: its key stands elsewhere in the shard too, --group_by_key joins them"
    )
    assert images_of(sample("txt"), Reading()).failure == "no image in the sample"


def test_a_policy_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match="several_images='some' is none of fail, first, all"):
        Reading(several_images="some")


RANGE = ShardRange(Shard("a.tar", 9), 0, 9, 0, last=True)


@pytest.mark.parametrize(
    ("extensions", "told"),
    [
        (("0001.jpg", "0002.jpg"), True),
        (("0001.jpg", "0001.txt", "0002.jpg", "0002.txt"), True),
        (("15.32.jpg", "16.01.jpg"), True),
        (("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"), True),
        (("left.jpg", "right.jpg"), False),
        (("jpg", "seg.png"), False),
        (("0001.jpg", "0001.txt"), False),
        (("0001.jpg", "0001.png"), False),
    ],
)
def test_names_with_dots_that_made_one_sample_of_several_are_told(extensions, told):
    found = dotted_names(RANGE, [sample(*extensions), sample("jpg")])
    assert [(one.samples, one.key) for one in found] == ([(1, f"k.{extensions[0]}")] if told else [])
