"""Where a caption comes from: one order, in any encoding that says what it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_curator.defaults import TEXT_MEMBERS
from beam_curator.errors import UsageError
from beam_curator.reading import Reading
from beam_curator.samples import Member, Sample
from beam_curator.sources.tar.captions import JSON_FIELDS, caption_of

BOTH = {"txt": b"a text", "json": b'{"caption": "a field", "alt": "an alt"}'}


def caption(members, source=()):
    found = {name: Member(name, 0, len(data), data) for name, data in members.items()}
    return caption_of(Sample("k", 0, 0, found), Reading(caption_from=source))


@pytest.mark.parametrize("empty", [b"", b" \n", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n\r\n"])
def test_an_empty_text_does_not_hide_the_caption_of_the_json_member(empty):
    assert caption({"txt": empty, "json": b'{"caption": "a field"}'}) == "a field"
    assert caption({"txt": empty}) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding_and_is_no_part_of_the_caption(encoding):
    assert caption({"txt": "ein Kätzchen 猫".encode(encoding)}) == "ein Kätzchen 猫"
    assert caption({"json": '{"caption": "猫"}'.encode(encoding)}) == "猫"


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xfe\xff", "utf-16-be"), (b"\x00\x00\xfe\xff", "utf-32-be")])
def test_big_endian_texts_are_read(mark, encoding):
    assert caption({"txt": mark + "猫".encode(encoding)}) == "猫"


def test_the_order_is_the_documented_one():
    everything = {name: name.encode() for name in TEXT_MEMBERS}
    everything["json"] = json.dumps({name: f"json {name}" for name in reversed(JSON_FIELDS)}).encode()
    found = []
    while everything:
        found.append(caption(everything))
        if len(everything) > 1:
            del everything[found[-1]]
            continue
        fields = json.loads(everything["json"])
        fields.pop(found[-1].removeprefix("json "))
        everything = {"json": json.dumps(fields).encode()} if fields else {}
    assert found == [*TEXT_MEMBERS, *(f"json {name}" for name in JSON_FIELDS)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"caption": ["one", "two"]}', "one\ntwo"),
        ('{"caption": ["", 7, "two"]}', "two"),
        ('{"captions": [], "text": "t"}', "t"),
        ('{"TEXT": "laion"}', "laion"),
        ('{"caption": null, "alt_text": "alt"}', "alt"),
        ('["one", "two"]', "one\ntwo"),
        ('"just text"', "just text"),
        ('{"caption": 7}', None),
        ("7", None),
        ("{}", None),
        ("{broken", None),
    ],
)
def test_captions_in_json_are_texts_lists_of_texts_or_fields_of_known_names(text, expected):
    assert caption({"json": text.encode()}) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("txt", "a text"),
        ("json", "a field"),
        ("json:alt", "an alt"),
        ("json:none", None),
        ("cap", None),
        ("cap, json:alt", "an alt"),
        (["json:alt", "txt"], "an alt"),
        (".TXT", "a text"),
    ],
)
def test_a_source_that_is_named_is_taken_and_no_other(source, expected):
    assert caption(BOTH, source) == expected


def test_a_field_of_any_json_member_may_be_named():
    assert caption({"meta.json": b'{"blip": "x"}', "txt": b"t"}, "meta.json:blip") == "x"


@pytest.mark.parametrize("source", ["json:", ":caption", "a/b", "txt,,json"])
def test_a_source_that_means_nothing_is_refused(source):
    with pytest.raises(UsageError, match="caption_from"):
        Reading(caption_from=source)


@given(st.binary(max_size=300), st.sampled_from([*TEXT_MEMBERS, "json"]))
def test_any_bytes_give_a_caption_that_can_be_written_or_none(data, name):
    found = caption({name: data})
    assert found is None or (found.strip() and found.encode("utf-8"))
