"""What may be written for --input: braces, joined patterns, globs and lists, without a look at any file."""

import pytest

from beam_curator.errors import UsageError
from beam_curator.sources.patterns import (
    is_shard_name,
    lines_of,
    list_of,
    path_matches,
    segments_of,
    split_joined,
    url_matcher,
    written_out,
)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("raw/{00008..00010}.tar", ["raw/00008.tar", "raw/00009.tar", "raw/00010.tar"]),
        ("{train,val}/{0..1}.tar", ["train/0.tar", "train/1.tar", "val/0.tar", "val/1.tar"]),
        ("a b/c.tar", ["a b/c.tar"]),
        ("odd{.tar", ["odd{.tar"]),
        ("one{1}.tar", ["one{1}.tar"]),
    ],
)
def test_braces_are_written_out_as_a_shell_does(pattern, names):
    assert written_out(pattern) == names


@pytest.mark.parametrize(
    "pattern",
    [
        "{0..99999999999}.tar",
        "{00000..41454}.tar{00000..231349}.tar",
        "{{0..999}{0..999}{0..999},x}.tar",
        "{a,b}" * 200,
        "{" * 5000 + "a,b" + "}" * 5000,
    ],
    ids=["one range", "a product", "nested", "two hundred pairs", "deep"],
)
def test_braces_that_stand_for_more_than_a_million_names_are_refused_before_they_are_written_out(pattern):
    with pytest.raises(UsageError, match=r"more names than the 1,000,000 that are looked for: .* a glob"):
        written_out(pattern)


def test_the_bound_holds_for_what_is_left_of_it():
    assert len(written_out("{0..9}", limit=10)) == 10
    with pytest.raises(UsageError, match="shorter range"):
        written_out("{0..10}", limit=10)


def test_two_colons_join_patterns_as_open_clip_writes_them(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    joined = "{00000..41454}.tar::gs://b/{0..231349}.tar :: ~/c.tar"
    assert split_joined(joined) == ["{00000..41454}.tar", "gs://b/{0..231349}.tar", "/home/me/c.tar"]
    assert split_joined("file:///data/a b.tar") == ["/data/a b.tar"]


@pytest.mark.parametrize("url", ["pipe:aws s3 cp s3://b/a.tar -", "a.tar::pipe:cat b.tar"])
def test_urls_that_only_webdataset_reads_are_refused_by_name(url):
    with pytest.raises(UsageError, match=r"pipe: is not read.* give a path or a url of storage"):
        split_joined(url)


def test_a_list_has_a_pattern_a_line_whatever_made_it():
    assert lines_of("\ufeff# train\r\na b.tar  \r\n\r\n  {0..9}.tar\n#c.tar\n") == ["a b.tar", "{0..9}.tar"]
    assert list_of("@shards.txt") == "shards.txt"
    assert list_of("shards@1.tar") is None


@pytest.mark.parametrize(
    ("glob", "matched", "not_matched"),
    [
        ("D/*.tar", ["D/a.tar"], ["D/b/a.tar", "D/.a.tar", "D/a.tar.gz"]),
        ("D/**/*.tar", ["D/a.tar", "D/b/a.tar", "D/b/c/a.tar"], ["E/a.tar", "D/.b/a.tar", "D/b/.a.tar", "D/a.txt"]),
        ("D/**/c/*.tar", ["D/c/a.tar", "D/b/c/a.tar"], ["D/b/a.tar"]),
        ("D/**", ["D/a.tar", "D/b/c.txt"], ["D/.a"]),
        ("D/**.tar", ["D/a.tar", "D/b/c.tar"], ["D/a.txt"]),
        ("D/x**y.tar", ["D/xy.tar", "D/xay.tar", "D/xa/b/cy.tar"], ["D/a/xy.tar"]),
        ("D/.*.tar", ["D/.a.tar"], ["D/a.tar"]),
        ("D/[ab]?.tar", ["D/a1.tar"], ["D/c1.tar", "D/a.tar"]),
        ("D/*/", ["D/b/a.tar", "D/b/a.TGZ"], ["D/a.tar", "D/b/a.txt", "D/b/.a.tar"]),
        ("D/", ["D/a.tar", "D/a.tar.zst"], ["D/b/a.tar", "D/"]),
        ("D/*", ["D/a.tar"], ["D/"]),
    ],
)
@pytest.mark.parametrize("root", ["", "/data/", "gs://bucket/"])
def test_globs_match_as_in_a_shell_and_two_stars_at_any_depth(root, glob, matched, not_matched):
    assert [name for name in matched if not url_matcher(f"{root}{glob}")(f"{root}{name}")] == []
    same_root = [name for name in not_matched if name.startswith("D")]
    assert [name for name in same_root if url_matcher(f"{root}{glob}")(f"{root}{name}")] == []


def test_segments_are_what_is_below_the_deepest_plain_directory():
    assert segments_of("gs://b/raw/x*/**/*.tar") == [["x*", "**", "*.tar"]]
    assert segments_of("**.tar") == [["*.tar"], ["*", "**", "*.tar"]]
    assert path_matches(["a", "b.tar"], ["**", "*.tar"])


def test_shards_are_named_in_either_case_and_never_hidden():
    names = ["a.tar", "B.TAR", "c.tar.zst", "d.tlz4", "._a.tar", "a.tar.tmp", "a.json", "tar"]
    assert [name for name in names if is_shard_name(name)] == ["a.tar", "B.TAR", "c.tar.zst", "d.tlz4"]
