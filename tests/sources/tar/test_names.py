"""Names against webdataset's own functions."""

import io
import re
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext, tar_file_iterator

from beam_curator.samples import readable
from beam_curator.sources.tar.names import APPLE_DOUBLE, DOT_FILE, META_NAME, NO_DOT, split_name, why_passed_over
from tests.examples import examples
from tests.tars import tar_bytes

ODD_NAMES = st.text(st.sampled_from(list("ab./_\n\\ éÉ\udcff\u2028J")), max_size=14)


@given(ODD_NAMES)
@example("")
@example(".jpg")
@example("dir/.jpg")
@example("a.b/c")
@example("a.b/c.D.Jpg")
@example("a.jpg\n")
@example("a.")
def test_key_and_extension_are_those_of_webdataset(name):
    if re.match(r"__[^/]*__($|/)", name):
        return
    key, extension = base_plus_ext(name)
    if name.rpartition("/")[2].startswith("."):
        key = None  # a dot file, which WebDataset takes for a sample that is named as the directory
    assert split_name(name) == (None if key is None else (key, extension.lower()))


@examples(60)
@given(st.text(st.sampled_from(list("_a./")), min_size=1, max_size=10).filter(lambda name: name.strip("/")))
@example("__meta__.json")
@example("__m.eta__")
@example("__meta__/a.jpg")
@example("dir/__meta__.jpg")
@example("dir/__a.b__")
@example("____/a.jpg")
def test_members_that_webdataset_skips_belong_to_no_sample(name):
    read = [found["fname"] for found in tar_file_iterator(io.BytesIO(tar_bytes([(name, b"x")], tarfile.GNU_FORMAT)))]
    stored = name if read == [name] else name.rstrip("/")
    if not read:
        assert split_name(stored) is None or name.endswith("/")
    else:
        is_dot_file = stored.rpartition("/")[2].startswith(".")
        assert (split_name(stored) is None) == (is_dot_file or base_plus_ext(stored)[0] is None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("photos/._0000.jpg", APPLE_DOUBLE),
        ("._0000.jpg", APPLE_DOUBLE),
        ("photos/.DS_Store", DOT_FILE),
        (".hidden.jpg", DOT_FILE),
        ("README", NO_DOT),
        ("v1.0/LICENSE", NO_DOT),
        ("__meta__/0.jpg", META_NAME),
    ],
)
def test_a_name_that_belongs_to_no_sample_is_of_a_kind(name, kind):
    assert split_name(name) is None
    assert why_passed_over(name) == kind


def test_a_file_in_a_directory_with_a_dot_is_a_member():
    assert split_name(".cache/0.jpg") == (".cache/0", "jpg")


@given(st.binary(max_size=12))
def test_a_readable_name_can_be_written_as_utf8_and_tells_names_apart(raw):
    name = raw.decode("utf-8", "surrogateescape")
    shown = readable(name)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert ("\\x" in shown) == ("\\x" in name or any("\udc80" <= letter <= "\udcff" for letter in name))


def test_a_readable_name_shows_bytes_that_are_not_utf8():
    assert readable("caf\udce9.jpg") == "caf\\xe9.jpg"
    assert readable("café.jpg") == "café.jpg"
